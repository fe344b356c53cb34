"""Study blocks of the cohort stage: what is predicted, how the subjects are divided, what is reported about them."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from riskweave.errors import nearest
from riskweave.study.base import Block, Codes, Days, Name
from riskweave.study.gates import GATES

__all__ = ["Allowed", "CodesEndpoint", "CohortReport", "ColumnsEndpoint", "DaysEndpoint", "Endpoint", "Folds"]


class _Endpoint(Block):
    description: str = Field(default="", description="What the endpoint is, for the report.")
    horizons: Annotated[list[Days], Field(min_length=1)] = Field(
        description="Times at which risks are evaluated, in days from the index time."
    )
    grid_points: Annotated[int, Field(ge=5, le=500)] = Field(
        default=20, description="Number of evenly spaced times up to the last horizon at which risks are predicted."
    )

    until: Days | None = Field(
        default=None,
        description="Longest time at risk, in days from the index time: who is free of events then is censored there.",
    )

    def time_grid(self) -> list[int]:
        """Return the times at which every model predicts the risk, in days: even steps and all horizons."""
        last = max(self.horizons)
        steps = {round(last * step / self.grid_points) for step in range(1, self.grid_points + 1)}
        return sorted((steps | set(self.horizons)) - {0})


class CodesEndpoint(_Endpoint):
    """An endpoint made from dated events: the first target code after the index time.

    Subjects with a target code at or before the index time are prevalent cases and leave this endpoint's risk set.
    """

    kind: Literal["codes"] = Field(description="Endpoint from dated event codes.")
    target: Codes = Field(
        description="Codes of the target event, by prefix or `@list`; a code matches when it starts with one of them."
    )
    competing: list[str | Codes] = Field(
        default=[],
        description="Codes of competing events, by prefix or `@list` (MEDS_DEATH is death in the MEDS schema). The "
        "first is cause 2, the next cause 3, ...; several codes in brackets, and a list, are one cause.",
    )
    recurrent: bool = Field(
        default=False,
        description="`true`: who had the event before stays at risk (of the next one); `false`: prevalent cases leave.",
    )


class ColumnsEndpoint(_Endpoint):
    """An endpoint that the subject table already holds as two columns."""

    kind: Literal["columns"] = Field(description="Endpoint from two columns of the subject table.")
    time: str = Field(description="Column with the days from index to the event or the end of follow-up (> 0).")
    event: str = Field(description="Column with the event: 0 censored, 1 target, 2 and up competing.")


class DaysEndpoint(_Endpoint):
    """An endpoint of which the subject table holds one column: the days to the event, where there was one.

    Such a column tells no time of censoring: who has no event is taken to be free of it up to `until`,
    or up to the end of follow-up where the subject table has one.
    """

    kind: Literal["days"] = Field(description="Endpoint from a column with the days to the event, where there was one.")
    time: str = Field(description="Column with the days to the event.")
    none: list[float] = Field(
        default=[], description="Numbers that mean no event (such as -1); an empty cell means it too."
    )
    start: float | None = Field(
        default=None,
        description="Day of the column's clock on which the index time falls: 2 where it counts from an admission and "
        "the index time is 48 hours later. Who has the event by then is not at risk. `null` is 0, and is refused where "
        "the study moves the index time: with an offset, or at an event.",
    )
    until: Days = Field(description="Longest time at risk, in days from the index time.")


Endpoint = Annotated[CodesEndpoint | ColumnsEndpoint | DaysEndpoint, Field(discriminator="kind")]


class Folds(Block):
    """How the subjects are divided; all experiments of a study share the division."""

    strategy: Literal["stratified", "group"] = Field(
        default="stratified",
        description="`stratified`: k folds with the same share of events; `group`: whole groups (such as centres) stay "
        "together, so that each test fold holds groups never trained on.",
    )
    count: Annotated[int, Field(ge=2, le=20)] = Field(default=5, description="Number of folds.")
    validation: Annotated[float, Field(gt=0, lt=0.5)] = Field(
        default=0.2,
        description="Share of the rows outside the test fold that is held out for early stopping and tuning.",
    )
    group: str | None = Field(default=None, description="Column of the subject table that holds the groups.")
    stratify: Name | None = Field(
        default=None, description="Endpoint whose events are balanced over the folds; needed where there are several."
    )
    seed: Annotated[int, Field(ge=0)] = Field(default=1, description="Seed of the division.")

    @model_validator(mode="after")
    def _group_goes_with_strategy(self):
        if (self.strategy == "group") != (self.group is not None):
            raise ValueError("`group` names the column of the groups: it goes with strategy: group, and only with it")
        return self


class Allowed(Block):
    """A finding of the leak gates that may pass."""

    finding: str = Field(description="Name of the finding, as the report and the error spell it (gate:place).")
    why: Annotated[str, Field(min_length=10)] = Field(description="Why it is no leak; the report shows it.")

    @field_validator("finding")
    @classmethod
    def _of_a_gate(cls, finding: str) -> str:
        gate, colon, place = finding.partition(":")
        if gate not in GATES:
            raise ValueError(f"there is no leak gate {gate!r}.{nearest(gate, GATES)} Allowed: {', '.join(GATES)}")
        if not colon or not place:
            raise ValueError(f"a finding is named gate:place, as in {gate}:ehr.los")
        return finding


class CohortReport(Block):
    """What is reported about the cohort."""

    by: str | None = Field(
        default=None,
        description="Column of the subject table whose groups Table 1 compares; else the target event.",
    )
    columns: list[str] = Field(
        default=[], description="Columns of the subject table in Table 1; those that feature sets use when empty."
    )
    suppress_below: Annotated[int, Field(ge=1)] = Field(
        default=10, description="Counts from 1 to below this are not shown, nor counts from which they would follow."
    )

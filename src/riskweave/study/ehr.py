"""Study blocks of the tabular features of the health record."""

from math import isfinite
from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from riskweave.study.base import Block, Codes, Days, Name, Positive

__all__ = ["AGGREGATES", "EhrFeatures", "EventFeatures", "HistoryFeatures"]

Aggregate = Literal["last", "mean", "min", "max", "sd", "count", "slope", "ever", "time_since", "category"]
AGGREGATES = get_args(Aggregate)


class EventFeatures(Block):
    """Columns made from the dated events of some codes, at or before the index time."""

    codes: Codes = Field(
        description="Codes, by prefix or `@list`: an event counts when its code starts with one of them."
    )
    by_code: bool = Field(
        default=False,
        description="`true`: columns for each distinct code that the prefixes find; `false`: one group for all.",
    )
    name: str | None = Field(
        default=None, description="Stem of the column names; the first code or list when not given. Not with `by_code`."
    )
    aggregates: Annotated[list[Aggregate], Field(min_length=1)] = Field(
        description="`last`, `mean`, `min`, `max` of the values; `count` of the events; `slope` of the values in units "
        "per year; `sd` their standard deviation (n - 1); `ever` (1 or 0); `time_since` the last event, in days; "
        "`category` the last event's text or, where it has none, the rest of its code behind the prefix, as a category."
    )
    window: Days | None = Field(
        default=None, description="Look-back from the index time in days; the whole history when not given."
    )
    windows: list[Days | None] = Field(
        default=[], description="Several look-backs at once, in days (`null`: the whole history); not with `window`."
    )
    minimum_subjects: Positive = Field(
        default=10,
        description="With `by_code`: codes that fewer people have are left out. People of all folds and of any outcome "
        "count, each once.",
    )
    unit: str | None = Field(
        default=None,
        description="Unit of the values. Values in another one stop the run unless `convert` names it; values without "
        "one are taken to be in it. Without this key, a code with values in several units stops the run.",
    )
    convert: dict[str, float] = Field(
        default={},
        description='Unit to factor that turns a value in it into `unit` (`mg/dL: 0.0555`); `""` is no unit.',
    )
    range: tuple[float, float] | None = Field(
        default=None,
        description="Lowest and highest plausible value, in `unit`: values outside count as events without a value.",
    )

    @model_validator(mode="after")
    def _consistent(self):
        if self.by_code and self.name:
            raise ValueError("`name` cannot be given together with `by_code`: the codes name the columns")
        if self.window is not None and self.windows:
            raise ValueError("give either `window` or `windows`")
        for key in ("aggregates", "windows"):
            values = getattr(self, key)
            if len(set(values)) < len(values):
                raise ValueError(f"`{key}` names a value twice")
        if self.convert and self.unit is None:
            raise ValueError("`convert` needs the `unit` into which values are converted")
        if self.unit in self.convert:
            raise ValueError("`convert` has a factor for `unit` itself: name the units in which other values come")
        if not all(isfinite(factor) and factor for factor in self.convert.values()):
            raise ValueError("the factors of `convert` are finite numbers other than 0")
        if self.range is not None and not self.range[0] < self.range[1]:
            raise ValueError("`range` needs lowest < highest")
        return self


class HistoryFeatures(Block):
    """Thousands of codes at once, kept sparse, and reduced to a few columns that are fitted on the training rows."""

    codes: Codes = Field(description="Codes, by prefix or `@list`; each distinct code is a column of the sparse table.")
    name: Name = Field(default="history", description="Stem of the column names.")
    aggregate: Literal["ever", "count"] = Field(
        default="ever", description="`ever` (1 or 0), or `count` as log(1 + number of events)."
    )
    window: Days | None = Field(default=None, description="Look-back in days; the whole history when not given.")
    minimum_subjects: Positive = Field(
        default=25, description="Codes that fewer people, of all folds, have are left out."
    )
    components: Annotated[int, Field(ge=1, le=512)] = Field(
        default=32, description="Columns left for the model: components of a truncated singular value decomposition."
    )


class EhrFeatures(Block):
    """Tabular features: static columns of the subject table and aggregates of dated events."""

    modality: Literal["ehr"] = Field(description="Modality of the feature set.")
    static: list[str] = Field(default=[], description="Columns of the subject table (numbers or categories).")
    events: list[EventFeatures] = Field(default=[], description="Aggregates of dated events.")
    history: list[HistoryFeatures] = Field(default=[], description="Sparse histories of many codes.")
    rows: Literal["all", "measured"] = Field(
        default="all",
        description="`all`: every subject has a row; `measured`: only subjects with a value or an event in some column "
        "(for a polygenic score that some subjects lack: they count as being without this feature set).",
    )

    @model_validator(mode="after")
    def _not_empty(self):
        if not self.static and not self.events and not self.history:
            raise ValueError("an ehr feature set needs `static` columns, `events` or a `history`")
        return self

"""Study block of the population: who is in the study, when risk is predicted, and for how long people are observed."""

import datetime as dt
from typing import Annotated, Literal

from pydantic import Field, model_validator

from riskweave.study.base import Block, Codes, Days, Name, Positive

__all__ = [
    "AgeIndex",
    "ColumnIndex",
    "Criterion",
    "DateIndex",
    "DerivedColumn",
    "EventIndex",
    "FollowUp",
    "Index",
    "Population",
    "Values",
]


class Values(Block):
    """What a value must satisfy; all that is given must hold."""

    above: float | None = Field(default=None, description="The number is above this.")
    below: float | None = Field(default=None, description="The number is below this.")
    equals: list[str | float] = Field(default=[], description="The number or the text is one of these.")

    @model_validator(mode="after")
    def _something(self):
        if self.above is None and self.below is None and not self.equals:
            raise ValueError("`values` needs at least one of `above`, `below` and `equals`")
        return self


class ColumnIndex(Block):
    """The index time is a column of the subject table."""

    at: Literal["column"] = Field(description="The index time is a column of the subject table.")
    column: str = Field(default="index_time", description="Column with a date or time.")
    offset: float = Field(default=0, description="Days added to it.")


class EventIndex(Block):
    """The index time is the time of an event."""

    at: Literal["first_event", "every_event"] = Field(
        description="`first_event`: the first such event of a person; `every_event`: each of them, a subject of the "
        "study each, all of one person in the same fold."
    )
    codes: Codes = Field(description="Codes of the event, by prefix or `@list`.")
    values: Values | None = Field(default=None, description="What its value must satisfy.")
    offset: float = Field(
        default=0, description="Days added to the event's time: 2 predicts from the first 48 hours after it."
    )
    minimum_gap: Days = Field(
        default=1, description="With `every_event`: days from one index time to the next of the same person."
    )
    most: Positive | None = Field(
        default=None,
        description="With `every_event`: most index times of a person, the first ones; all by default.",
    )


class AgeIndex(Block):
    """The index time is a birthday."""

    at: Literal["age"] = Field(
        description="The index time is the day on which the person reaches an age; who is first seen later (events, "
        "birth and death aside) is left out."
    )
    years: Annotated[float, Field(ge=0, le=120)] = Field(
        description="The age: whole years end on the birthday, parts of one on the first midnight that completes them."
    )


class DateIndex(Block):
    """The index time is the same day for everybody."""

    at: Literal["date"] = Field(
        description="The index time is one date for everybody; who is first seen later (events, birth and death "
        "aside) is left out."
    )
    date: dt.date = Field(description="The date, such as 2015-01-01.")


Index = Annotated[ColumnIndex | EventIndex | AgeIndex | DateIndex, Field(discriminator="at")]


class FollowUp(Block):
    """How long people are observed: until the earliest of what is given here, and of death."""

    last_contact: Literal["column", "last_event"] = Field(
        default="column",
        description="`column`: the source's end of follow-up (`cohort.columns.followup_end`, an OMOP observation "
        "period, ...); `last_event`: the person's last dated event.",
    )
    date: dt.date | None = Field(default=None, description="Administrative end, the last day observed of everybody.")
    days: Days | None = Field(
        default=None, description="Most days from the index time; an event at that very moment counts."
    )


class Criterion(Block):
    """A condition on a person's history relative to the index time, by events or by a column of the subject table."""

    name: Name = Field(description="What the attrition table calls it.")
    description: str = Field(default="", description="The same in words.")
    codes: Codes | None = Field(default=None, description="Codes of events, by prefix or `@list`.")
    column: str | None = Field(default=None, description="Or a column of the subject table (`age` included).")
    values: Values | None = Field(
        default=None, description="What the value must satisfy; any value (a column: not empty) when not given."
    )
    window: tuple[float | None, float | None] = Field(
        default=(None, 0.0),
        description="With `codes`: from and to, in days from the index time, both included; `null` is open, and "
        "events without a time count where the start is. An end above 0 selects on the future, which is reported as a "
        "leak.",
    )
    count: Positive = Field(default=1, description="With `codes`: the fewest such events that meet the condition.")

    @model_validator(mode="after")
    def _one_of_both(self):
        if (self.codes is None) == (self.column is None):
            raise ValueError("a criterion needs either `codes` or `column`")
        low, high = self.window
        if low is not None and high is not None and low > high:
            raise ValueError("`window` needs from <= to")
        return self


class DerivedColumn(Block):
    """A column of the subject table made from each person's last matching event at or before the index time."""

    codes: Codes = Field(description="Codes of the event, by prefix or `@list`.")
    take: Literal["suffix", "code", "number", "text"] = Field(
        default="suffix",
        description="`suffix`: what follows the prefix in the code (F of GENDER//F), of the last event that has one; "
        "`code`: the whole code; `number` or `text`: the event's value.",
    )


class Population(Block):
    """Who is in the study. Without this block: the source's own index time and follow-up, and nobody left out."""

    index: Index | None = Field(
        default=None,
        description="When risk is predicted. Sources without an index time (meds, omop, mimic_iv) need it.",
    )
    columns: dict[Name, DerivedColumn] = Field(
        default={},
        description="Columns to add to the subject table, for groups and static features. `age` (years at the index "
        "time) is there wherever the birth is known.",
    )
    minimum_history: Days | None = Field(
        default=None,
        description="Fewest days from a person's first dated event (birth and death aside) to the index time.",
    )
    minimum_followup: Days | None = Field(
        default=None,
        description="Fewest days of observation after the index time; who dies earlier stays in. It selects on the "
        "future: leave it out unless loss to follow-up says nothing about risk.",
    )
    include: list[Criterion] = Field(default=[], description="Conditions that everybody in the study meets, in order.")
    exclude: list[Criterion] = Field(default=[], description="Conditions that nobody in the study meets, in order.")
    followup: FollowUp = Field(default=FollowUp(), description="How long people are observed.")

    @model_validator(mode="after")
    def _named_once(self):
        names = [criterion.name for criterion in (*self.include, *self.exclude)]
        if len(set(names)) < len(names):
            raise ValueError("each criterion of `include` and `exclude` needs a name of its own")
        return self

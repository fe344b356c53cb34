"""Study blocks of the search of hyper-parameters."""

from typing import Annotated

from pydantic import Field, model_validator

from riskweave.study.base import Block, Positive

__all__ = ["Interval", "Search"]

Value = bool | int | float | str


class Interval(Block):
    """Numbers between two bounds; whole numbers where both bounds are."""

    low: int | float = Field(description="Lowest value.")
    high: int | float = Field(description="Highest value.")
    log: bool = Field(default=False, description="`true`: orders of magnitude are equally likely.")

    @model_validator(mode="after")
    def _ordered(self):
        if not self.low < self.high:
            raise ValueError("needs low < high")
        if self.log and self.low <= 0:
            raise ValueError("`log` needs low > 0")
        return self


class Search(Block):
    """Search by Optuna inside the experiment's job: the validation rows of each fold choose for that fold alone."""

    trials: Positive = Field(default=30, description="Most trials in a fold.")
    minutes: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="Most minutes of a fold's search; a trial that has begun is finished."
    )
    space: dict[str, Interval | Annotated[list[Value | list[int] | list[float]], Field(min_length=2)]] = Field(
        default={},
        description="Key of the model, such as `training.learning_rate`, to an interval (`{low: 0.0001, high: 0.1, "
        "log: true}`) or a list of choices. Empty: the kind's usual keys and ranges (docs/models.md).",
    )
    pruning: bool = Field(
        default=True, description="Whether networks stop trials whose validation loss is behind the others' median."
    )

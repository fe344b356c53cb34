"""Study blocks of the search of hyper-parameters, and a model's block with other values at some of its keys."""

from collections.abc import Iterator, Mapping
from math import pi
from typing import Annotated, Any, TypeVar

from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from riskweave.errors import nearest
from riskweave.study.base import Block, Positive
from riskweave.study.explain import explain

__all__ = ["Interval", "Search", "check_space", "replaced", "takes_fractions", "tunable_keys", "value_at"]

Value = bool | int | float | str

AnyBlock = TypeVar("AnyBlock", bound=Block)

_NOT_TUNABLE = ("kind", "search", "precision")


class Interval(Block):
    """Numbers between two bounds, both included; whole numbers where the key takes no others."""

    low: int | float = Field(description="Lowest value.")
    high: int | float = Field(description="Highest value.")
    log: bool = Field(default=False, description="`true`: orders of magnitude are equally likely.")


Choices = Annotated[list[Value | list[int] | list[float]], Field(min_length=2)]


def _one_sentence(value: Any, check: ValidatorFunctionWrapHandler) -> Interval | list[Any]:
    """Answer what is neither an interval nor choices once, instead of by what each of the two lacks."""
    try:
        return check(value)
    except ValidationError:
        raise ValueError(
            "needs an interval, such as {low: 0.001, high: 0.1, log: true}, or a list of 2 choices or more"
        ) from None


class Search(Block):
    """Search by Optuna inside the experiment's job: the validation rows of each fold choose for that fold alone."""

    trials: Positive = Field(default=30, description="Most trials in a fold; the first has the model's own values.")
    minutes: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="Most minutes of a fold's search; a trial that has begun is finished."
    )
    space: dict[str, Annotated[Interval | Choices, WrapValidator(_one_sentence)]] = Field(
        default={},
        description="Key of the model, such as `training.learning_rate`, to an interval (`{low: 0.0001, high: 0.1, "
        "log: true}`) or a list of choices. Empty: the kind's usual keys and ranges (docs/search.md).",
    )
    pruning: bool = Field(
        default=True, description="Whether networks stop trials whose validation loss is behind the others' median."
    )


def _leaves(block: Block, stem: str = "") -> Iterator[tuple[str, Any]]:
    for key in type(block).model_fields:
        value = getattr(block, key)
        if key in _NOT_TUNABLE:
            continue
        if isinstance(value, Block):
            yield from _leaves(value, f"{stem}{key}.")
        else:
            yield f"{stem}{key}", value


def tunable_keys(model: Block) -> list[str]:
    """Return the keys of a model's block that a search may vary, inner blocks' as ``training.epochs``."""
    return [key for key, _ in _leaves(model)]


def value_at(model: Block, key: str) -> Any:
    """Return the value of a model's block at a key such as ``training.epochs``."""
    return dict(_leaves(model))[key]


def replaced(model: AnyBlock, values: Mapping[str, Any]) -> AnyBlock:
    """Return a model's block with other values at some keys, checked as those of a study file are.

    Parameters
    ----------
    model : Block
        A block under `models`.
    values : mapping of key to value
        Keys as in `tunable_keys`. Where the key takes a list, a single value stands for the list of it alone.

    Raises
    ------
    ValidationError
        When a key does not take its value.
    """
    content = model.model_dump()
    for key, value in values.items():
        *parents, last = key.split(".")
        block = content
        for parent in parents:
            block = block[parent]
        single = isinstance(block[last], list | tuple) and not isinstance(value, list | tuple)
        block[last] = [value] if single else value
    return type(model).model_validate(content)


def takes_fractions(model: Block, key: str, interval: Interval) -> bool:
    """Tell whether a key takes numbers between the bounds of an interval that are not whole."""
    return _refusal(model, key, interval.low + (interval.high - interval.low) / pi) is None


def _refusal(model: Block, key: str, value: Any) -> str | None:
    """Return why a key does not take a value, or None when it does."""
    try:
        replaced(model, {key: value})
    except ValidationError as error:
        return explain(error, type(model))[0]
    return None


def _bounds(where: str, interval: Interval) -> list[str]:
    """Find bounds that are none."""
    problems = (
        [] if interval.low < interval.high else [f"{where}: low {interval.low} is not below high {interval.high}"]
    )
    if interval.log and interval.low <= 0:
        problems.append(f"{where}.low: {interval.low} has no order of magnitude. Allowed with `log`: above 0")
    return problems


def check_space(name: str, model: Block) -> list[str]:
    """Find keys of a search that the model does not have, and values that they do not take.

    Parameters
    ----------
    name : str
        The model's name in the study.
    model : Block
        Its block, with or without a search.

    Returns
    -------
    list of str
        A line for each problem: key, value, what is allowed and the nearest name.
    """
    search = getattr(model, "search", None)
    problems, allowed = [], tunable_keys(model)
    for key, range_ in ({} if search is None else search.space).items():
        where = f"models.{name}.search.space.{key}"
        inner = [other for other in allowed if other.startswith(f"{key}.")]
        if inner:
            problems.append(f"{where}: is a block. Name one of its keys. Allowed: {', '.join(inner)}")
        elif key not in allowed:
            problems.append(
                f"{where}: a model of kind {model.kind} has no key {key!r} that can be searched."
                f"{nearest(key, allowed)} Allowed: {', '.join(allowed)}"
            )
        else:
            values = [range_.low, range_.high] if isinstance(range_, Interval) else range_
            refused = [why for why in (_refusal(model, key, value) for value in values) if why]
            problems += [f"models.{name}.search.space.{why}" for why in refused]
            if isinstance(range_, Interval):
                problems += _bounds(where, range_)
            elif len({str(value) for value in range_}) < len(range_):
                problems.append(f"{where}: names a choice twice. Name it once")
    return problems

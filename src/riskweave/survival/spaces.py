"""Search spaces: the usual ranges of each kind of model, and those of a study as Optuna's distributions."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from riskweave.study.base import Block
from riskweave.study.search import Interval, replaced, takes_fractions, value_at

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

__all__ = ["USUAL", "Range", "distributions", "own_values", "space_of", "text_of", "with_values"]

Range = Interval | list[Any]

_PENALTY = Interval(low=1e-4, high=10.0, log=True)

_NETWORK: dict[str, Range] = {
    "hidden": [[], [16], [32], [64], [128], [32, 32], [64, 64]],
    "dropout": Interval(low=0.0, high=0.6),
    "training.learning_rate": Interval(low=3e-4, high=3e-2, log=True),
    "training.weight_decay": Interval(low=1e-4, high=1.0, log=True),
    "training.batch_size": [32, 64, 128, 256],
}

_DISCRETE: dict[str, Range] = {**_NETWORK, "intervals": Interval(low=8, high=50, log=True)}

USUAL: Mapping[str, dict[str, Range]] = {
    "cox": {"penalty": _PENALTY, "l1_ratio": [0.0, 0.5, 1.0]},
    "weibull_aft": {"penalty": _PENALTY},
    "random_survival_forest": {
        "min_samples_leaf": Interval(low=3, high=100, log=True),
        "max_features": ["sqrt", "log2", 0.3, 0.6, 1.0],
    },
    "gradient_boosting": {
        "learning_rate": Interval(low=0.01, high=0.3, log=True),
        "max_depth": Interval(low=1, high=6),
        "min_samples_leaf": Interval(low=5, high=100, log=True),
        "subsample": Interval(low=0.3, high=1.0),
    },
    "survival_boost": {
        "iterations": Interval(low=20, high=200, log=True),
        "learning_rate": Interval(low=0.01, high=0.3, log=True),
        "max_leaf_nodes": Interval(low=3, high=32, log=True),
        "min_samples_leaf": Interval(low=10, high=200, log=True),
    },
    "deep_surv": _NETWORK,
    "cox_time": {**_NETWORK, "controls": Interval(low=1, high=5)},
    "logistic_hazard": _DISCRETE,
    "pmf": _DISCRETE,
    "mtlr": _DISCRETE,
    "pc_hazard": _DISCRETE,
    "deep_hit": {**_DISCRETE, "alpha": Interval(low=0.2, high=1.0), "sigma": Interval(low=0.1, high=1.0, log=True)},
    "multi_endpoint": _DISCRETE,
}
"""Kind of model to the keys that a search without a `space` varies, and their ranges."""


def space_of(model: Block) -> dict[str, Range]:
    """Return the keys that the search of a model varies, and their ranges: the study's, or the usual of its kind."""
    return dict(model.search.space) or USUAL[model.kind]


def text_of(value: Any) -> Any:
    """Return a value as tables and Optuna hold it: a list as its JSON text, everything else as it is."""
    return json.dumps(list(value)) if isinstance(value, list | tuple) else value


def distributions(model: Block) -> dict[str, "BaseDistribution"]:
    """Return the search space of a model as Optuna's distributions, by key.

    Choices are the texts of `text_of` where they are lists; `with_values` takes them.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found: dict[str, BaseDistribution] = {}
    for key, range_ in space_of(model).items():
        if isinstance(range_, list):
            found[key] = CategoricalDistribution([text_of(choice) for choice in range_])
        elif takes_fractions(model, key, range_):
            found[key] = FloatDistribution(float(range_.low), float(range_.high), log=range_.log)
        else:
            found[key] = IntDistribution(int(range_.low), int(range_.high), log=range_.log)
    return found


def own_values(model: Block) -> dict[str, Any]:
    """Return the model's own values at the keys of its search, as Optuna holds them.

    A list of one value, such as a single penalty, is that value where the key's range holds single ones.
    """
    values = {}
    for key, range_ in space_of(model).items():
        value = value_at(model, key)
        lists = isinstance(range_, list) and any(isinstance(choice, list) for choice in range_)
        values[key] = text_of(value[0] if isinstance(value, list) and len(value) == 1 and not lists else value)
    return values


def with_values(model: Block, values: Mapping[str, Any]) -> Block:
    """Return the block of a model with the values of a trial, as Optuna holds them, and without its search.

    Raises
    ------
    ValidationError
        When a key does not take its value.
    """
    choices = {
        key: {text_of(choice): choice for choice in range_}
        for key, range_ in space_of(model).items()
        if isinstance(range_, list)
    }
    decoded = {key: choices.get(key, {}).get(value, value) for key, value in values.items()}
    return replaced(model, decoded).model_copy(update={"search": None})

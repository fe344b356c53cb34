"""What stored models may be made of: classes whose objects hold numbers, texts and each other."""

from functools import cache
from importlib import import_module
from typing import Any

__all__ = ["RefusedError", "class_of", "named", "state_keys"]

OWN = ("riskweave.fusion", "riskweave.modalities", "riskweave.networks", "riskweave.study", "riskweave.survival")
"""Packages whose classes are parts of models."""

LAYERS = ("torch.nn.modules", "torchvision.models", "torchvision.ops")
"""Packages whose layers are parts of networks, and nothing else of theirs."""

CLASSES = frozenset({
    "pycox.models.loss.DeepHitLoss",
    "pycox.models.loss.DeepHitSingleLoss",
    "sklearn.compose._column_transformer.ColumnTransformer",
    "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.impute._base.MissingIndicator",
    "sklearn.impute._base.SimpleImputer",
    "sklearn.pipeline.Pipeline",
    "sklearn.preprocessing._data.StandardScaler",
    "sklearn.preprocessing._encoders.OneHotEncoder",
    "sklearn.preprocessing._label.LabelEncoder",
    "sksurv.ensemble.forest.RandomSurvivalForest",
    "sksurv.tree.tree.SurvivalTree",
})  # fmt: skip
"""Classes of other libraries."""

NAMED = {
    "numpy.float32": ("numpy", "float32"),
    "numpy.float64": ("numpy", "float64"),
    "riskweave.survival.preprocessing._category_name": ("riskweave.survival.preprocessing", "_category_name"),
}
"""Functions and types that models hold: looked up here, and never called while a file is read."""


class RefusedError(ValueError):
    """The file names what no model is made of."""


@cache
def class_of(name: str) -> type:
    """Return the class of this full name, whose objects may be parts of models.

    Raises
    ------
    RefusedError
        When it is none of them, or no class.
    ModuleNotFoundError
        When a library of theirs is not installed.
    """
    module, _, own = name.rpartition(".")
    layer = _within(module, LAYERS)
    if not (layer or name in CLASSES or _within(module, OWN)):
        raise RefusedError(name)
    try:
        found = getattr(import_module(module), own, None)
    except ModuleNotFoundError:
        # Libraries may be missing here; a module of ours that is missing has never been.
        if name in CLASSES:
            raise
        raise RefusedError(name) from None
    # What a module imports is no part of it. Objects are made without their constructor: a class that does something
    # then is none of ours.
    known = isinstance(found, type) and (found.__module__, found.__qualname__) == (module, own)
    if not known or found.__new__ is not object.__new__ or (layer and not _is_layer(found)):
        raise RefusedError(name)
    return found


def named(name: str) -> Any:
    """Return a function or type of `NAMED`, or the class of a layer.

    Raises
    ------
    RefusedError
        When it is none of them.
    """
    if name not in NAMED and _within(name, LAYERS):
        return class_of(name)
    if name not in NAMED:
        raise RefusedError(name)
    module, own = NAMED[name]
    return getattr(import_module(module), own)


def state_keys(kind: type, keys: list[str]) -> None:
    """Check the names of what an object holds: none that Python looks up to do something with it.

    Raises
    ------
    RefusedError
        When there is such a name. pydantic's own state has some, and pydantic reads it itself.
    """
    if not all(type(key) is str for key in keys):
        raise RefusedError(f"a state of {kind.__name__} that none has")
    if any(key.startswith("__") for key in keys) and not _is_block(kind):
        raise RefusedError(f"a state of {kind.__name__} that none has")


def _within(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def _is_layer(kind: type) -> bool:
    from torch.nn import Module

    return issubclass(kind, Module)


def _is_block(kind: type) -> bool:
    from pydantic import BaseModel

    return issubclass(kind, BaseModel)

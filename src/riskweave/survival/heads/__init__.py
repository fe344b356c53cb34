"""Heads: what turns the output of any network into time-to-event risks, one module for each kind of model."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from riskweave.study.models import NetworkModel
from riskweave.survival.heads.base import Head
from riskweave.survival.implementations import HEADS

__all__ = ["Head", "build_head", "make_head", "restore_head"]


def make_head(kind: str, *, causes: int, **options: Any) -> Head:
    """Return an unconnected head.

    Parameters
    ----------
    kind : str
        Key of `riskweave.survival.implementations.HEADS`.
    causes : int
        Causes K.
    options : any
        What the kind's head takes, such as ``intervals``.
    """
    return import_module(HEADS[kind]).HEAD(causes=causes, **options)


def build_head(model: NetworkModel, *, causes: int) -> Head:
    """Return the unconnected head of a model block of the study."""
    head = import_module(HEADS[model.kind]).HEAD
    return head(causes=causes, **head.options_of(model))


def restore_head(state: Mapping[str, Any]) -> Head:
    """Return a trained head from its ``state()``, in evaluation mode."""
    head = make_head(state["kind"], causes=state["causes"], **state["options"])
    head.learnt = dict(state["learnt"])
    head.connect(state["features"])
    head.load_state_dict(state["weights"])
    return head.eval()

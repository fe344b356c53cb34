"""The search of an experiment's fold: which models are searched, by which trials, and what was chosen."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from riskweave.files import replacing
from riskweave.study.models import Model
from riskweave.survival.search import Chosen, Prune, fingerprint_of, search, trials_table
from riskweave.tracking.provenance import PACKAGE_FOLDER, code_fingerprint
from riskweave.tracking.record import TrialRecord

__all__ = ["JOURNAL", "Tuned", "tune", "write_trials"]

JOURNAL = ".search.journal"
"""File beside an experiment's outputs with the finished trials of a job that may be killed."""


@dataclass(frozen=True)
class Tuned:
    """The models of a fold, with the values that their searches chose.

    Attributes
    ----------
    model : Model
        The experiment's, without a search.
    members : mapping of str to Model
        Those that it combines, without searches.
    chosen : mapping of str to Chosen
        By name of the model; none where nothing was searched.
    """

    model: Model
    members: Mapping[str, Model] = field(default_factory=dict)
    chosen: Mapping[str, Chosen] = field(default_factory=dict)

    @property
    def params(self) -> dict[str, Any]:
        """What was chosen, for the record of the fold: ``search.<model>.<key>``."""
        return {f"search.{name}.{key}": value for name, one in self.chosen.items() for key, value in one.params.items()}

    @property
    def trials(self) -> list[TrialRecord]:
        """All trials, for the record of the fold."""
        return [
            TrialRecord(name, trial.number, trial.state, trial.value, trial.seconds, trial.params)
            for name, one in self.chosen.items()
            for trial in one.trials
        ]


def tune(
    name: str,
    model: Model,
    members: Mapping[str, Model],
    *,
    score: Callable[[Model, Prune | None], float],
    seed: int,
    journal: Path,
    about: tuple[str | int | np.ndarray | Model, ...],
) -> Tuned:
    """Search the hyper-parameters of an experiment's model, or of the members of an ensemble one by one.

    Parameters
    ----------
    name : str
        Name of the model in the study.
    model : Model
        Its block.
    members : mapping of str to Model
        Blocks of the models that it combines, by name.
    score : callable
        Of a model's block and what its network calls after each epoch, the score on the fold's validation rows; see
        `riskweave.survival.search.search`.
    seed : int
        Same seed, same trials.
    journal : path
        File of finished trials.
    about : tuple
        What a trial's score depends on beside the block, data included, so that trials of other data do not count.

    Returns
    -------
    Tuned
        Models without a search stay as they are.
    """
    chosen = {}
    searched = {n: block for n, block in {name: model, **members}.items() if getattr(block, "search", None) is not None}
    for key, block in searched.items():
        digest = fingerprint_of(key, block, seed, code_fingerprint(PACKAGE_FOLDER), *about)
        chosen[key] = search(block, score, seed=seed, journal=journal, name=digest)
    return Tuned(
        model=chosen[name].model if name in chosen else model,
        members={member: chosen[member].model if member in chosen else block for member, block in members.items()},
        chosen=chosen,
    )


def write_trials(folds: Mapping[int, Tuned], path: Path) -> None:
    """Write the trials of all folds as CSV, with a header only where there was no search.

    Columns are those of `riskweave.survival.search.TRIAL_COLUMNS`, ``chosen`` (whether the fold's final model has the
    values of the trial), then a key of a model each.
    """
    table = trials_table(
        [(fold, name, one.trials) for fold, tuned in folds.items() for name, one in tuned.chosen.items()]
    )
    best = {(fold, name): one.best.number for fold, tuned in folds.items() for name, one in tuned.chosen.items()}
    rows = zip(table["fold"], table["model"], table["trial"], strict=True)
    table.insert(4, "chosen", pd.Series([best[fold, name] == trial for fold, name, trial in rows], dtype=bool))
    with replacing(path) as (partial,):
        table.to_csv(partial, index=False)

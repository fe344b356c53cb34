"""Search of a model's hyper-parameters by Optuna, on what validation rows say of each trial."""

import hashlib
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from riskweave.errors import DataError
from riskweave.files import replacing
from riskweave.study.base import Block
from riskweave.survival.scores import censored_log_likelihood
from riskweave.survival.spaces import distributions, own_values, space_of, with_values

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

    from riskweave.survival.registry import Estimator

__all__ = [
    "TRIAL_COLUMNS",
    "Chosen",
    "Prune",
    "Trial",
    "fingerprint_of",
    "forget",
    "search",
    "trials_table",
    "validated",
]

logger = logging.getLogger(__name__)

Prune = Callable[[int, float], None]
"""Called after each epoch of a network with the epoch and the validation loss; raises to stop the trial."""

TRIAL_COLUMNS = ("fold", "model", "trial", "state", "value", "seconds")
"""Columns of ``trials.csv`` before those of the keys that were varied."""

_STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
_COUNTED_BEFORE_PRUNING = 5
"""Complete trials before the first is pruned: a median of fewer is none."""


@dataclass(frozen=True)
class Trial:
    """One trial of a search.

    Attributes
    ----------
    number : int
        From 0, the model's own values.
    state : {"complete", "pruned", "failed"}
    value : float
        Score on the validation rows, higher is better; NaN where the trial was not finished.
    seconds : float
    params : dict
        Key of the model to its value; lists as their JSON text.
    """

    number: int
    state: str
    value: float
    seconds: float
    params: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Chosen:
    """What a search gives.

    Attributes
    ----------
    model : Block
        The model's block with the values of the best trial, without its search.
    best : Trial
    trials : tuple of Trial
        All trials, in their order.
    """

    model: Block
    best: Trial
    trials: tuple[Trial, ...]

    @property
    def params(self) -> dict[str, Any]:
        """What was chosen, for run records: each key's value, the trial and its score."""
        return {**self.best.params, "trial": self.best.number, "trials": len(self.trials)}


def search(
    model: Block,
    score: Callable[[Block, Prune | None], float],
    *,
    seed: int,
    journal: Path,
    name: str,
) -> Chosen:
    """Choose the hyper-parameters of a model by the trees of Parzen estimators of Optuna.

    The first trial is the model's own values, so that the chosen ones never score lower than no search. Later ones come
    from the multivariate TPE sampler (Bergstra et al. 2011, NeurIPS 24; Falkner, Klein and Hutter 2018, ICML), seeded
    for each trial anew: what it proposes depends on the seed and the finished trials alone, so that a search that goes
    on after its job was killed makes the trials that it would have made. Networks report their validation loss after
    each epoch, as its improvement on the first one relative to it; a trial that is behind the median of the others at
    the same epoch is stopped (Golovin et al. 2017, KDD: median stopping rule).

    Parameters
    ----------
    model : Block
        Block of a study under `models`, with a search.
    score : callable
        Fits a block of the model on the training rows and returns its score on the validation rows, higher is better;
        see `validated`. Called with what a network calls after each epoch, or None without pruning. A `DataError` that
        it raises, as of a training that diverged, makes a failed trial.
    seed : int
        Same seed, same trials, where fitting is deterministic and the budget is one of trials.
    journal : Path
        File of finished trials (Optuna's journal storage); made when missing. One process writes it at a time.
    name : str
        What this search is about, data included (`fingerprint_of`): trials of another name in the journal do not count.

    Returns
    -------
    Chosen

    Raises
    ------
    DataError
        When every trial failed: that of the last.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study, ranges, failure = _open(journal, name), distributions(model), None
    own = study if _inside(model, ranges) else _open(journal, f"{name}, own values")
    while not _spent(model, finished := _finished(own, study)):
        number = len(finished)
        study.sampler = optuna.samplers.TPESampler(
            seed=int(np.random.SeedSequence([seed, number]).generate_state(1)[0]),
            multivariate=True,
            constant_liar=False,
        )
        asked = study if number else own
        trial, block = _begin(asked, model, ranges, first=number == 0)
        try:
            value = score(block, _reporting(trial) if model.search.pruning else None)
        except optuna.TrialPruned:
            asked.tell(trial, state=optuna.trial.TrialState.PRUNED)
        except DataError as error:
            failure = error
            asked.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            asked.tell(trial, value)
        _log(_trial(number, _finished(own, study)[-1], model), budget=model.search.trials)
    trials = tuple(_trial(number, frozen, model) for number, frozen in enumerate(_finished(own, study)))
    complete = [trial for trial in trials if trial.state == "complete"]
    if not complete:
        raise failure or DataError(
            f"search of hyper-parameters, {Path(journal).name}",
            f"all {len(trials)} trials failed",
            "Give the model values with which it can be fitted, or remove the search",
        )
    best = max(complete, key=lambda trial: trial.value)  # the first of equals
    without = model.model_copy(update={"search": None})
    chosen = without if best.number == 0 else with_values(model, best.params)
    return Chosen(chosen, best, trials)


def _open(journal: Path, name: str) -> "optuna.Study":
    """Return the search of that name from the journal, as a killed job may have left it."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    journal = Path(journal)
    journal.parent.mkdir(parents=True, exist_ok=True)
    _lock(journal).unlink(missing_ok=True)  # one process writes: a lock is of one that was killed
    if journal.is_file():
        content = journal.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:  # killed in the middle of a line, which Optuna would append to
            with replacing(journal) as (partial,):
                partial.write_bytes(whole)
    return optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(journal))),
        study_name=name,
        direction="maximize",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=_COUNTED_BEFORE_PRUNING, n_warmup_steps=1),
    )


def _lock(journal: Path) -> Path:
    return journal.with_name(f"{journal.name}.lock")


def forget(journal: Path) -> None:
    """Remove a journal: its searches are done, and their trials are told by the results."""
    for file in (Path(journal), _lock(Path(journal))):
        file.unlink(missing_ok=True)


def _finished(own: "optuna.Study", study: "optuna.Study") -> "list[FrozenTrial]":
    """Return the finished trials, the model's own values first.

    One that was running when its job was killed is none, and is made again.
    """
    studies = [study] if own is study else [own, study]
    return [trial for each in studies for trial in each.get_trials(deepcopy=False) if trial.state.is_finished()]


def _spent(model: Block, finished: "Sequence[FrozenTrial]") -> bool:
    """Tell whether the budget is used up; the first trial is always made."""
    budget = model.search
    seconds = sum(trial.duration.total_seconds() for trial in finished)
    over = budget.minutes is not None and bool(finished) and seconds >= 60 * budget.minutes
    return over or len(finished) >= budget.trials


def _begin(
    study: "optuna.Study", model: Block, ranges: "Mapping[str, Any]", *, first: bool
) -> "tuple[optuna.Trial, Block]":
    """Return the next trial, and the model's block with its values; the first has the model's own."""
    from optuna.trial import TrialState

    if not first:
        trial = study.ask(dict(ranges))
        return trial, with_values(model, trial.params)
    without = model.model_copy(update={"search": None})
    if not _inside(model, ranges):
        return study.ask(), without
    if not study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        study.enqueue_trial(own_values(model))
    return study.ask(dict(ranges)), without


def _inside(model: Block, ranges: "Mapping[str, Any]") -> bool:
    """Tell whether the model's own values are a point of the space.

    Others, such as a list of penalties, are tried in a study of their own: the sampler looks together at no other keys
    than those that all trials of its study have.
    """
    return all(_within(ranges[key], value) for key, value in own_values(model).items())


def _within(distribution: Any, value: Any) -> bool:
    if hasattr(distribution, "choices"):
        return any(value == choice and type(value) is type(choice) for choice in distribution.choices)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and distribution.low <= value <= distribution.high


def _reporting(trial: "optuna.Trial") -> Prune:
    """Return what a network calls after each epoch.

    Losses of networks with other intervals or other weights of their parts have another scale, which the improvement on
    the first loss, relative to it, has not.
    """
    import optuna

    first: list[float] = []

    def report(epoch: int, loss: float) -> None:
        if not math.isfinite(loss):
            return
        first.append(loss)
        scale = abs(first[0]) or 1.0
        trial.report((first[0] - loss) / scale, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned

    return report


def _trial(number: int, frozen: "FrozenTrial", model: Block) -> Trial:
    state = _STATES[frozen.state.name]
    value = float(frozen.value) if state == "complete" else math.nan
    params = own_values(model) if number == 0 else {key: frozen.params[key] for key in space_of(model)}
    return Trial(number, state, value, round(frozen.duration.total_seconds(), 3), params)


def _log(trial: Trial, *, budget: int) -> None:
    values = ", ".join(
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in trial.params.items()
    )
    told = f"{trial.value:.5f}" if trial.state == "complete" else trial.state
    logger.info("trial %d of at most %d: %s (%s; %.1f s)", trial.number + 1, budget, told, values, trial.seconds)


def validated(estimator: "Estimator", x: Any, *, times: Sequence[int], time: np.ndarray, event: np.ndarray) -> float:
    """Return the score by which a search chooses: the mean censored log-likelihood of the validation rows.

    Parameters
    ----------
    estimator : Estimator or fusion
        Fitted on the training rows.
    x : array or Design
        The validation rows, as its ``predict`` takes them.
    times : sequence of int
        The study's time grid of the endpoint, in days.
    time, event : arrays (n,)
        Days and events of the validation rows.
    """
    return float(censored_log_likelihood(estimator.predict(x, list(times)), times, time, event).mean())


def fingerprint_of(*parts: Any) -> str:
    """Return a digest of settings and arrays, to name a search by: another digest, another search.

    Parameters
    ----------
    parts
        Arrays, study blocks, and whatever has a ``repr`` that tells its value.
    """
    made = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            made.update(f"{part.dtype}{part.shape}".encode() + np.ascontiguousarray(part).tobytes())
        else:
            made.update((part.model_dump_json() if isinstance(part, Block) else repr(part)).encode())
        made.update(b"\x00")
    return made.hexdigest()[:32]


def trials_table(searches: Iterable[tuple[int, str, Sequence[Trial]]]) -> pd.DataFrame:
    """Return the trials of an experiment as one table.

    Parameters
    ----------
    searches : iterable of (fold, model, trials)
        `model` is a name of the study: an ensemble searches for each of its members.

    Returns
    -------
    DataFrame
        `TRIAL_COLUMNS`, then the keys in the order of their first use; no rows when there was no search.
    """
    rows = [
        {"fold": fold, "model": model, "trial": t.number, "state": t.state, "value": t.value, "seconds": t.seconds}
        | t.params
        for fold, model, trials in searches
        for t in trials
    ]
    return pd.DataFrame(rows, columns=list(dict.fromkeys([*TRIAL_COLUMNS, *(key for row in rows for key in row)])))

"""Late fusion: a model for each modality, and for each availability pattern a Cox regression of their risks."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from riskweave.fusion.scores import HazardScale
from riskweave.fusion.stacking import fit_weights
from riskweave.study.fusions import LateFusion
from riskweave.survival.design import Design
from riskweave.survival.parts import parts_of
from riskweave.survival.proportional import Baseline, breslow, proportional_incidence
from riskweave.survival.registry import Estimator

__all__ = ["Late", "from_block"]

logger = logging.getLogger(__name__)

FEW = 10
"""Fewest target events of the rows that a combination is fitted on, and fewest rows with and without a modality."""


@dataclass(frozen=True)
class _Unimodal:
    """The model of one modality and the scale of its risks."""

    place: int
    name: str
    estimator: Estimator
    scale: HazardScale

    def scores(self, design: Design) -> np.ndarray:
        """Return the standardised log cumulative hazards (n, causes); 0 for those who lack the modality."""
        has = design.present[:, self.place]
        found = np.zeros((len(design), self.scale.causes))
        if has.any():
            x = design.of_group(self.place)[has]
            found[has] = self.scale.transform(self.estimator.predict(x, list(self.scale.times)))
        return found


@dataclass(frozen=True)
class _Combination:
    """How the risks of some modalities become one: per cause the weights of scores and masks, and a baseline hazard.

    Attributes
    ----------
    scores, masks : tuple of int
        Places of the modalities whose scores count, and of those of which only counts whether a subject has them.
    weights : ndarray of shape (causes, scores + masks)
    baselines : tuple of Baseline or None
    """

    scores: tuple[int, ...]
    masks: tuple[int, ...]
    weights: np.ndarray
    baselines: tuple[Baseline | None, ...]

    def log_ratios(self, scores: np.ndarray, has: np.ndarray) -> np.ndarray:
        """Return the log hazard ratios (n, causes) from scores (n, modalities, causes) and masks (n, modalities)."""
        columns = _columns(scores, has, self.scores, self.masks)
        return np.einsum("nck,kc->nk", columns, self.weights)


def _columns(scores: np.ndarray, has: np.ndarray, used: Sequence[int], masks: Sequence[int]) -> np.ndarray:
    """Return the columns of a combination, of shape (n, columns, causes)."""
    told = np.repeat(has[:, list(masks), None].astype(float), scores.shape[2], axis=2)
    return np.concatenate([scores[:, list(used)], told], axis=1)


class Late:
    """Stacked risks of unimodal models, combined for each availability pattern.

    Each modality has a model of its columns, fitted on the training rows that have it. Its risks of training rows come
    from fits without them (parts of the rows, all of a person in one), so that they are as good as those of new
    subjects. Their log cumulative hazards, standardised, are the columns of one Cox regression for each pattern of
    available modalities and cause, whose weights are not negative and shrunken (Breiman 1996, Machine Learning
    24:49-64, for the bound): a modality that says nothing new gets no weight. The combination of a pattern is fitted on
    all training rows that have at least its modalities, with the masks of the others as further columns, so that each
    pattern has data, and no modality is ever filled in. Subjects without any modality get the incidence of the training
    rows, as far as having none tells nothing.

    Parameters
    ----------
    build : callable
        Makes the estimator of a modality, see `riskweave.fusion.registry.build_fusion`.
    causes : int
        Number of causes.
    parts : int
        Parts of the training rows, at least 2.
    penalty : float
        Ridge penalty of the weights.
    seed : int
        Seed of the parts.
    checkpoint : Path, optional
        Folder with one for each fit, in which networks keep their training: in a common one they would discard each
        other's.

    Attributes
    ----------
    models : list of the unimodal models
    params : dict
        The weights of the modalities where a subject has all, and what the unimodal models chose.
    curves : DataFrame
        epoch, metric (``<modality>:<metric>``), value of the unimodal models.
    """

    def __init__(
        self,
        *,
        build: Callable[..., Estimator],
        causes: int,
        parts: int,
        penalty: float,
        seed: int,
        checkpoint: Path | None = None,
    ):
        self._build, self.causes, self.parts, self.penalty, self.seed = build, causes, parts, penalty, seed
        self._checkpoint = checkpoint

    def fit(  # noqa: PLR0917 - the protocol of all fusions
        self,
        design: Design,
        time: np.ndarray,
        event: np.ndarray,
        design_val: Design,
        time_val: np.ndarray,
        event_val: np.ndarray,
    ) -> "Late":
        """Fit the unimodal models and their combinations; validation rows serve the unimodal models alone."""
        # Not at the very end: a fit on a part of the rows may not reach it.
        times = np.quantile(time[event > 0], [0.25, 0.5, 0.75, 0.95])
        self.models: list[_Unimodal] = []
        scores = []
        for place in range(len(design.groups)):
            has, has_val = design.present[:, place], design_val.present[:, place]
            part = self._parts(design, event, place, judged=int(has_val.sum()))
            if part is None:
                continue
            rows = (design.of_group(place)[has], time[has], event[has])
            rows_val = (design_val.of_group(place)[has_val], time_val[has_val], event_val[has_val])
            names, people, modality = design.names_of_group(place), design.people[has], design.groups[place].modality
            risks = np.zeros((int(has.sum()), self.causes, len(times)))
            for number in range(part.max() + 1):
                inside = part == number
                unfitted = self._unfitted(names, people[~inside], f"{modality}_{number}")
                fitted = unfitted.fit(*(values[~inside] for values in rows), *rows_val)
                risks[inside] = fitted.predict(rows[0][inside], list(times))
            scale = HazardScale(times).fit(risks)
            estimator = self._unfitted(names, people, modality).fit(*rows, *rows_val)
            self.models.append(_Unimodal(place, modality, estimator, scale))
            scores.append(np.zeros((len(design), self.causes)))
            scores[-1][has] = scale.transform(risks)
        del self._build, self._checkpoint
        stacked = np.stack(scores, axis=1) if scores else np.zeros((len(design), 0, self.causes))
        self._combine(stacked, self._has(design), time, event)
        self._end = float(time[event > 0].max())
        self._centre = self._log_hazard(stacked, self._has(design)).mean()
        return self

    def predict(self, design: Design, times: list[int]) -> np.ndarray:
        """Return cumulative incidences of shape (n, causes, times), of every row whatever it lacks."""
        scores, has = self._scores(design), self._has(design)
        found = np.zeros((len(design), self.causes, len(times)))
        for combination, rows in self._by_pattern(has):
            log_ratios = combination.log_ratios(scores[rows], has[rows])
            found[rows] = proportional_incidence(log_ratios, combination.baselines, times)
        return found

    def linear_predictor(self, design: Design) -> np.ndarray:
        """Return the log cumulative hazard of the target, less that of the training rows, of shape (n,).

        That is the log hazard ratio within a pattern; between patterns it is the one at the end of the follow-up.
        """
        return self._log_hazard(self._scores(design), self._has(design)) - self._centre

    @property
    def curves(self) -> pd.DataFrame:
        """How the training of the unimodal models went."""
        frames = [
            model.estimator.curves.assign(metric=lambda frame, name=model.name: f"{name}:" + frame["metric"])
            for model in self.models
            if len(model.estimator.curves)
        ]
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=["epoch", "metric", "value"])

    @property
    def architecture(self) -> str:
        """What was fitted, modality by modality."""
        lines = [f"late fusion of {len(self.models)} unimodal models, {len(self._combinations)} availability patterns"]
        return "\n".join([*lines, *(f"{model.name}: {model.estimator.architecture}" for model in self.models)])

    @property
    def params(self) -> dict:
        """The weights of the modalities where a subject has all, and what the unimodal models chose."""
        whole = self._combinations[(True,) * len(self.models)]
        found = {
            f"weight_{self.models[place].name}_cause_{cause}": float(weight)
            for cause, weights in enumerate(whole.weights, start=1)
            for place, weight in zip(whole.scores, weights, strict=False)
        }
        for model in self.models:
            chosen = getattr(model.estimator, "params", {})
            found |= {f"{model.name}.{key}": value for key, value in chosen.items()}
        return found

    def _unfitted(self, columns: list[str], people: np.ndarray, name: str) -> Estimator:
        kept = {} if self._checkpoint is None else {"checkpoint": self._checkpoint / name}
        estimator = self._build(columns=columns, prune=None, **kept)
        if hasattr(estimator, "people"):
            # An ensemble divides its rows again, all of a person in one part.
            estimator.people = people
        return estimator

    def _parts(self, design: Design, event: np.ndarray, place: int, *, judged: int) -> np.ndarray | None:
        """Return the part of each row that has a modality; None where the modality has nothing to learn from."""
        has = design.present[:, place]
        people = len(np.unique(design.people[has & (event == 1)]))
        columns = len(design.groups[place].columns)
        if not columns or min(people, judged) < 2:
            logger.warning(
                "modality %s is left out: %d columns vary in the training rows, %d people there have it and the target "
                "event, %d validation rows have it",
                design.groups[place].modality,
                columns,
                people,
                judged,
            )
            return None
        return parts_of(design.people[has], event[has], parts=min(self.parts, people), seed=self.seed)

    def _scores(self, design: Design) -> np.ndarray:
        """Return the scores of all modalities, of shape (n, modalities, causes)."""
        scores = [model.scores(design) for model in self.models]
        return np.stack(scores, axis=1) if scores else np.zeros((len(design), 0, self.causes))

    def _has(self, design: Design) -> np.ndarray:
        return design.present[:, [model.place for model in self.models]]

    def _combine(self, scores: np.ndarray, has: np.ndarray, time: np.ndarray, event: np.ndarray) -> None:
        """Fit the combination of every pattern; one with too few events gets that of the best part of it."""
        needed = min(FEW, int((event == 1).sum()))
        self._combinations: dict[tuple[bool, ...], _Combination] = {}
        best: dict[tuple[bool, ...], int] = {}
        for pattern in sorted(product([False, True], repeat=len(self.models)), key=sum):
            rows = has[:, np.array(pattern, dtype=bool)].all(axis=1)
            events = int((event[rows] == 1).sum())
            if events >= needed:
                self._combinations[pattern] = self._fit_pattern(
                    pattern, scores[rows], has[rows], time[rows], event[rows]
                )
                best[pattern] = events
                continue
            inside = [tuple(flag and i != drop for i, flag in enumerate(pattern)) for drop in np.flatnonzero(pattern)]
            instead = max(inside, key=lambda one: best[one])
            self._combinations[pattern], best[pattern] = self._combinations[instead], best[instead]

    def _fit_pattern(
        self, pattern: tuple[bool, ...], scores: np.ndarray, has: np.ndarray, time: np.ndarray, event: np.ndarray
    ) -> _Combination:
        used = tuple(int(place) for place in np.flatnonzero(pattern))
        counts = has.sum(axis=0)
        told = [place for place in range(len(pattern)) if min(counts[place], len(has) - counts[place]) >= FEW]
        masks = tuple(place for place in told if place not in used)
        columns = _columns(scores, has, used, masks)
        weights, baselines = np.zeros((self.causes, columns.shape[1])), []
        for cause in range(self.causes):
            x, happened = columns[:, :, cause], event == cause + 1
            if happened.any():
                nonnegative = np.arange(columns.shape[1]) < len(used)
                weights[cause] = fit_weights(x, time, happened, penalty=self.penalty, nonnegative=nonnegative)
            baselines.append(breslow(x @ weights[cause], time, happened) if happened.any() else None)
        return _Combination(used, masks, weights, tuple(baselines))

    def _by_pattern(self, has: np.ndarray) -> list[tuple[_Combination, np.ndarray]]:
        """Return the combination of each pattern among some rows, and which rows have it."""
        patterns, which = np.unique(has, axis=0, return_inverse=True) if has.shape[1] else (has[:1], np.zeros(len(has)))
        which = np.ravel(which)
        return [(self._combinations[tuple(map(bool, pattern))], which == i) for i, pattern in enumerate(patterns)]

    def _log_hazard(self, scores: np.ndarray, has: np.ndarray) -> np.ndarray:
        """Return the log cumulative hazard of the target at the last event of the training rows, of shape (n,)."""
        found = np.zeros(len(scores))
        for combination, rows in self._by_pattern(has):
            baseline = combination.baselines[0]
            level = 0.0 if baseline is None else float(np.log(baseline.at(np.array([self._end]))[0]))
            found[rows] = combination.log_ratios(scores[rows], has[rows])[:, 0] + level
        return found


def from_block(
    fusion: LateFusion,
    *,
    build: Callable[..., Estimator],
    causes: int,
    seed: int,
    threads: int,  # noqa: ARG001 - the estimators have them
    checkpoint: Path | None = None,
    **further: object,  # noqa: ARG001 - what other kinds need
) -> Late:
    """Return the unfitted fusion of a study block; see `riskweave.fusion.registry.build_fusion`."""
    return Late(
        build=build,
        causes=causes,
        parts=fusion.parts,
        penalty=fusion.penalty,
        seed=seed,
        checkpoint=checkpoint,
    )

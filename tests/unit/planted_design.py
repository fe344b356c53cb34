"""Designs of several modalities with a planted log hazard, at the level of feature tables: thousands of subjects."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from riskweave.fusion.registry import FusedModel, build_fusion
from riskweave.study.fusions import Fusion
from riskweave.study.models import Model
from riskweave.survival.design import Design
from riskweave.survival.preprocessing import DesignMatrix, FeatureTable
from riskweave.survival.registry import build_estimator
from riskweave.survival.roles import concordance

DAYS = [500, 1000, 2000]


@dataclass(frozen=True)
class Part:
    """Rows of one role: design, outcome, true log hazard, and what of it the modalities that they have could tell."""

    design: Design
    time: np.ndarray
    event: np.ndarray
    truth: np.ndarray
    known: np.ndarray

    def concordance(self, risk: np.ndarray) -> float:
        return concordance(time=self.time, event=self.event, risk=risk)


def planted(
    *,
    modalities: dict[str, int],
    weights: dict[str, float],
    n: int = 4000,
    lacking: dict[str, float] | None = None,
    product: float = 0.0,
    noise: float = 1.0,
    causes: int = 1,
    seed: int = 0,
) -> dict[str, Part]:
    """Return training, validation and test rows (60, 15 and 25 %) of a cohort.

    Each modality has a generator of its own, so that one more changes nothing of the others, and a latent state, of
    which its columns (as many as `modalities` says) are mixtures with noise. The log hazard is the weighted sum of the
    states, plus `product` times the product of the first two. A state counts whether or not its modality is `lacking`
    (share of subjects, at random). With two causes the second has a constant hazard.
    """
    rng = np.random.default_rng(seed)
    ids = pd.Index([f"s{i:05d}" for i in range(n)], dtype=object)
    tables, states, known = [], [], []
    for place, (name, width) in enumerate(modalities.items()):
        own = np.random.default_rng([seed, place])
        state = own.normal(size=n)
        states.append(state)
        mixed = state[:, None] * own.uniform(0.5, 1.0, width) + noise * own.normal(size=(n, width))
        has = own.random(n) >= (lacking or {}).get(name, 0.0)
        known.append(np.where(has, weights.get(name, 0.0) * state, 0.0))
        frame = pd.DataFrame(mixed[has], index=ids[has], columns=[f"c{i}" for i in range(width)])
        tables.append(FeatureTable(name, name, frame))
    truth = sum(weights.get(name, 0.0) * state for name, state in zip(modalities, states, strict=True))
    if product:
        truth = truth + product * states[0] * states[1]
    times = [rng.exponential(3000 * np.exp(-truth))] + [rng.exponential(4000, n) for _ in range(causes - 1)]
    ends = np.stack([rng.uniform(500, 4000, n), *times])
    time, event = np.maximum(ends.min(axis=0), 1.0), ends.argmin(axis=0)
    cuts = [int(0.6 * n), int(0.75 * n)]
    matrix = DesignMatrix().fit(tables, ids[: cuts[0]])
    parts = zip(("train", "validation", "test"), np.split(np.arange(n), cuts), strict=True)
    return {role: Part(matrix.design(tables, ids[r]), time[r], event[r], truth[r], sum(known)[r]) for role, r in parts}


def fitted(
    fusion: Fusion, model: Model, parts: dict[str, Part], *, causes: int = 1, seed: int = 0, **further
) -> FusedModel:
    """Return a fusion fitted on the training rows; `further` is for the estimators."""
    build = partial(build_estimator, model=model, causes=causes, seed=seed, threads=1, **further)
    train, validation = parts["train"], parts["validation"]
    return build_fusion(fusion, model=model, build=build, causes=causes, seed=seed).fit(
        train.design, train.time, train.event, validation.design, validation.time, validation.event
    )


def score(fusion: Fusion, model: Model, parts: dict[str, Part], **arguments) -> float:
    """Return Harrell's concordance of the test rows at the last day."""
    risks = fitted(fusion, model, parts, **arguments).predict(parts["test"].design, DAYS)
    return parts["test"].concordance(risks[:, 0, -1])

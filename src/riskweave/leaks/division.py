"""Folds that are unlike each other: in events, in follow-up, in groups of subjects."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy.stats import chi2_contingency, kruskal

from riskweave.leaks.evidence import Evidence
from riskweave.leaks.finding import Finding
from riskweave.leaks.statistics import Ranked, auc

__all__ = ["check_folds"]

_ERROR = 1e-3
"""Chance that any of a study's tests speaks where folds are alike (Bonferroni: divided by their number)."""
_RATIO, _DIFFERENCE = 2.0, 0.1
"""Events: highest over lowest share, and their difference, from which folds are unlike (together)."""
_RATIO_GROUP = 5.0
_LONGER, _LONGER_GROUP = 0.65, 0.95
"""Probability that a subject of one fold is observed longer than one of the others."""
_ASSOCIATED = 0.2
"""Cramer's V of a fold with a category."""


def check_folds(evidence: Evidence) -> list[Finding]:
    """Compare the test rows of all folds; folds of whole groups differ as groups do, and only extremes are told.

    A fold is told apart where both the difference is large and chance unlikely.
    """
    by_group = evidence.division.strategy == "group"
    found = [*_events(evidence, by_group), *_followup(evidence, by_group), *([] if by_group else _categories(evidence))]
    remedy = (
        "Divide again with other groups, fewer folds, or strategy: stratified"
        if by_group
        else "Let the pipeline divide (remove cohort/folds.parquet); stratify by this endpoint, or take fewer folds"
    )
    return [
        Finding("folds_unlike", place, problem, None, remedy)
        for place, problem, chance in found
        if chance < _ERROR / len(found)
    ]


def _of(evidence: Evidence, endpoint: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    at_risk = evidence.at_risk(endpoint, evidence.subjects["subject_id"])
    fold = evidence.tested.to_numpy(dtype=float, na_value=-1)[at_risk.rows]
    kept = fold >= 0
    return fold[kept].astype(int), at_risk.event[kept], at_risk.time[kept]


def _events(evidence: Evidence, by_group: bool) -> Iterator[tuple[str, str, float]]:
    for endpoint in evidence.outcomes:
        fold, event, _ = _of(evidence, endpoint)
        table = pd.crosstab(fold, event == 1).to_numpy()
        chance, problem = 1.0, ""
        if table.shape[0] > 1 and table.shape[1] == 2:
            shares = table[:, 1] / table.sum(axis=1)
            low, high = shares.min(), shares.max()
            large = high >= (_RATIO_GROUP if by_group else _RATIO) * low and (by_group or high - low >= _DIFFERENCE)
            if large:
                chance = chi2_contingency(table).pvalue
                problem = (
                    f"of the subjects in the test folds, from {low:.0%} to {high:.0%} have the event of {endpoint}"
                )
        yield f"{endpoint}/events", problem, chance


def _followup(evidence: Evidence, by_group: bool) -> Iterator[tuple[str, str, float]]:
    for endpoint in evidence.outcomes:
        fold, _, time = _of(evidence, endpoint)
        folds = np.unique(fold)
        chance, problem = 1.0, ""
        ranked = Ranked.of(time)
        if len(folds) > 1 and len(ranked.distinct) > 1:
            apart = max(
                abs(auc(ranked.counts(np.flatnonzero(fold != one)), ranked.counts(np.flatnonzero(fold == one))) - 0.5)
                for one in folds
            )
            if apart + 0.5 >= (_LONGER_GROUP if by_group else _LONGER):
                chance = kruskal(*(time[fold == one] for one in folds)).pvalue
                problem = (
                    f"subjects of one test fold are observed longer or shorter than those of the others for "
                    f"{endpoint}, with probability {apart + 0.5:.2f}"
                )
        yield f"{endpoint}/follow-up", problem, chance


def _categories(evidence: Evidence) -> Iterator[tuple[str, str, float]]:
    table = evidence.subjects
    kept = evidence.tested.notna().to_numpy()
    fold = evidence.tested[kept].to_numpy(dtype=int)
    for name in table.columns:
        if name in ("subject_id", "person_id") or not 2 <= table[name].nunique() <= 20:
            continue
        if pd.api.types.is_datetime64_any_dtype(table[name]):
            continue
        counts = pd.crosstab(fold, table[name][kept].to_numpy()).to_numpy()
        chance, problem = 1.0, ""
        if min(counts.shape) > 1:
            test = chi2_contingency(counts)
            value = np.sqrt(test.statistic / counts.sum() / (min(counts.shape) - 1))
            if value >= _ASSOCIATED:
                chance, problem = test.pvalue, f"test folds differ in column {name} (Cramer's V {value:.2f})"
        yield name, problem, chance

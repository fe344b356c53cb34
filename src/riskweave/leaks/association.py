"""Columns that all but tell the outcome: by their values, by their absence, or by a modality being there at all.

The thresholds lie far above what honest predictors reach: age in a cohort of adults separates deaths from survivors
with an area under the ROC curve of 0.8 to 0.9. A gate needs 20 subjects on each side, or 10 that are separated
without a single exception.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from riskweave.leaks.evidence import AtRisk, FeatureColumn, SetRows
from riskweave.leaks.finding import Finding, count
from riskweave.leaks.statistics import Ranked, auc, held_out_scores, spearman

__all__ = ["ColumnGates", "check_availability"]

SEPARATED = 0.95
"""Area under the ROC curve from which a column tells who has the event (0.05 and below likewise)."""
FEWEST, FEWEST_SEPARATED = 20, 10
EVENT_TIMES, CENSORING_TIMES = 0.9, 0.95
"""Rank correlations with the time from which a column tells it, among events and among censored subjects."""
COPY_TIMES, COPY_EVENTS = 0.999, 0.99
"""Rank correlation with the time, or share of each kind of event told rightly, from which a column is a copy."""
CERTAIN, COMMON = 0.98, 0.5
"""A category foretells the event in this share of its subjects, where at most this share of the others have it."""
MISSING_APART = 0.6
"""Difference, between subjects with and without the event, in the share with a value."""
FEW_VALUES = 12
"""A column of numbers with at most so many different ones may be codes: it is judged as categories too."""

_WHEN = (
    "Find out when and how it is recorded. If it is known only after the index time, take it out of the feature set; "
    "if it is known by then, allow the finding"
)


@dataclass(frozen=True)
class _Contrast:
    """Two groups of subjects at risk, by what happened to them."""

    what: str
    positive: np.ndarray
    negative: np.ndarray


def _contrasts(at_risk: AtRisk) -> Iterator[_Contrast]:
    """Yield the target against the censored, against all others, and competing events against all others."""
    event = at_risk.event
    yield _Contrast("the target event", event == 1, event == 0)
    if (event > 1).any():
        yield _Contrast("the target event", event == 1, event != 1)
        yield _Contrast("a competing event", event > 1, event <= 1)


def _is_separation(value: float, positives: int, negatives: int) -> bool:
    fewest, far = min(positives, negatives), max(value, 1 - value)
    return (fewest >= FEWEST and far >= SEPARATED) or (fewest >= FEWEST_SEPARATED and far >= 1)


class ColumnGates:
    """The gates that compare a column with the outcomes, for the columns of one feature set.

    Parameters
    ----------
    rows : SetRows
        Who has a row in the set, and what happened to them.
    """

    def __init__(self, rows: SetRows):
        self._rows = rows
        self._missing: set[bytes] = set()

    def check(self, column: FeatureColumn, ranked: Ranked) -> list[Finding]:
        """Return what speaks against a column, at most one finding of a gate and endpoint."""
        findings = []
        for at_risk in self._rows.at_risk:
            place = f"{at_risk.endpoint}/{column.place}"
            known = ranked.known[at_risk.rows]
            copy = _copy(at_risk, ranked, known)
            if copy is not None:
                remedy = "Take it out of the feature set"
                findings.append(Finding("endpoint_copy", place, copy, int(known.sum()), remedy))
                continue
            for gate, problem in (
                ("outcome_association", _tells_event(at_risk, ranked, column.levels is not None)),
                ("time_association", _tells_time(at_risk, ranked, column.levels is not None)),
            ):
                if problem is not None:
                    findings.append(Finding(gate, place, problem, int(known.sum()), _WHEN))
        return findings + self._check_missing(column, ranked.known)

    def _check_missing(self, column: FeatureColumn, known: np.ndarray) -> list[Finding]:
        """Judge each pattern of missing values once: a code's columns mostly share theirs."""
        pattern = hashlib.blake2b(np.packbits(known).tobytes(), digest_size=16).digest()
        if known.all() or pattern in self._missing:
            return []
        self._missing.add(pattern)
        findings = []
        for at_risk in self._rows.at_risk:
            problem = _presence_tells(at_risk, known[at_risk.rows], "a value")
            if problem is not None:
                place = f"{at_risk.endpoint}/{column.place}"
                missing = int((~known[at_risk.rows]).sum())
                remedy = (
                    "Find out for whom it is recorded. If that is decided after the index time, take the column (and "
                    "others missing for the same subjects) out of the feature set"
                )
                findings.append(Finding("missingness_association", place, problem, missing, remedy))
        return findings


def _copy(at_risk: AtRisk, ranked: Ranked, known: np.ndarray) -> str | None:
    """Tell whether a column repeats the endpoint's time or its kinds of event."""
    n = int(known.sum())
    if n < max(FEWEST, 0.95 * len(known)):
        return None
    place, time, event = ranked.place[at_risk.rows][known], at_risk.time[known], at_risk.event[known]
    distinct = np.count_nonzero(np.bincount(place))
    # A column with fewer values than a quarter of the times can have no such rank correlation with them.
    if distinct >= 10 and distinct * 4 >= len(np.unique(time)) and abs(spearman(place, time)) >= COPY_TIMES:
        return f"its values are those of the endpoint's time in {count(n)} of {count(len(known))} subjects at risk"
    if 2 <= distinct <= FEW_VALUES:
        table = np.zeros((len(ranked.distinct), int(event.max()) + 1))
        np.add.at(table, (place, event), 1)
        told = table[np.arange(len(table)), table.argmax(axis=1)]
        right = np.bincount(table.argmax(axis=1), weights=told, minlength=table.shape[1])
        kinds = table.sum(axis=0)
        if (kinds[:2] >= FEWEST_SEPARATED).all() and (right[:2] >= COPY_EVENTS * kinds[:2]).all():
            return f"its values are those of the endpoint's event in {count(n)} of {count(len(known))} subjects at risk"
    return None


def _tells_event(at_risk: AtRisk, ranked: Ranked, categorical: bool) -> str | None:
    """Tell whether values separate the subjects with an event from those without."""
    known = ranked.known[at_risk.rows]
    distinct = len(ranked.distinct)
    if distinct < 2:
        return None
    for contrast in _contrasts(at_risk):
        positive = at_risk.rows[contrast.positive & known]
        negative = at_risk.rows[contrast.negative & known]
        if min(len(positive), len(negative)) < FEWEST_SEPARATED:
            continue
        counts = ranked.counts(negative), ranked.counts(positive)
        told = f"of {count(len(positive))} subjects with {contrast.what} from {count(len(negative))} without"
        value = 0.5 if categorical else auc(*counts)
        if not _is_separation(value, len(positive), len(negative)) and (categorical or distinct <= FEW_VALUES):
            value = _held_out_auc(ranked, negative, positive)
        if _is_separation(value, len(positive), len(negative)):
            return f"its values tell {told} (area under the ROC curve {max(value, 1 - value):.3f})"
        if (categorical or distinct <= FEW_VALUES) and (found := _certain_level(*counts)):
            return f"one of its values is found in {count(found)} subjects, all but all of them with {contrast.what}"
    return None


def _held_out_auc(ranked: Ranked, negative: np.ndarray, positive: np.ndarray) -> float:
    """Return the area under the ROC curve of categories, each scored by other subjects than those it is tried on."""
    rows = np.sort(np.concatenate([negative, positive]))
    target = np.isin(rows, positive).astype(float)
    scores = Ranked.of(held_out_scores(ranked.place[rows], target))
    halves = [np.flatnonzero(np.arange(len(rows)) % 2 == side) for side in (0, 1)]
    values = [
        auc(scores.counts(half[target[half] == 0]), scores.counts(half[target[half] == 1]))
        for half in halves
        if 0 < target[half].sum() < len(half)
    ]
    return float(np.mean(values)) if len(values) == 2 else 0.5


def _certain_level(negatives: np.ndarray, positives: np.ndarray) -> int:
    """Return how many subjects have a value that foretells the event, 0 when no value does."""
    carriers = negatives + positives
    rest = np.maximum(carriers.sum() - carriers, 1)
    others = (positives.sum() - positives) / rest
    certain = (carriers >= FEWEST) & (positives >= CERTAIN * carriers) & (others <= COMMON)
    return int(carriers[certain].max()) if certain.any() else 0


def _tells_time(at_risk: AtRisk, ranked: Ranked, categorical: bool) -> str | None:
    """Tell whether values order the subjects by how long they were observed."""
    known = ranked.known[at_risk.rows]
    groups = (
        ("who have the target event", at_risk.event == 1, EVENT_TIMES),
        ("who have a competing event", at_risk.event > 1, EVENT_TIMES),
        ("who are censored", at_risk.event == 0, CENSORING_TIMES),
    )
    for who, group, threshold in groups:
        taken = group & known
        if taken.sum() < FEWEST:
            continue
        place, time = ranked.place[at_risk.rows[taken]], at_risk.time[taken]
        if len(np.unique(time)) < 10 or place.min() == place.max():
            continue
        values = held_out_scores(place, time) if categorical else place
        value = abs(spearman(values, time))
        if value >= threshold:
            return (
                f"its values go with the time of observation of the {count(int(taken.sum()))} subjects {who} "
                f"(rank correlation {value:.3f})"
            )
    return None


def _presence_tells(at_risk: AtRisk, present: np.ndarray, what: str) -> str | None:
    """Tell whether having something at all (a value, a modality) goes with the event or with the time."""
    if min(present.sum(), (~present).sum()) < FEWEST:
        return None
    for contrast in _contrasts(at_risk):
        positives, negatives = contrast.positive.sum(), contrast.negative.sum()
        if min(positives, negatives) < FEWEST:
            continue
        shares = present[contrast.positive].mean(), present[contrast.negative].mean()
        counts = [
            np.array([(side & ~present).sum(), (side & present).sum()])
            for side in (contrast.negative, contrast.positive)
        ]
        if abs(shares[0] - shares[1]) >= MISSING_APART or _certain_level(*counts):
            return (
                f"{shares[0]:.0%} of {positives} subjects with {contrast.what} have {what}, and {shares[1]:.0%} of "
                f"{negatives} without"
            )
    for who, group in (("with the target event", at_risk.event == 1), ("who are censored", at_risk.event == 0)):
        time = Ranked.of(at_risk.time[group])
        having = np.flatnonzero(present[group]), np.flatnonzero(~present[group])
        if min(map(len, having)) < FEWEST or len(time.distinct) < 10:
            continue
        value = auc(time.counts(having[1]), time.counts(having[0]))
        if max(value, 1 - value) >= SEPARATED:
            longer = "longer" if value > 0.5 else "shorter"
            return f"subjects {who} are observed {longer} where they have {what} ({count(len(having[0]))} of them have)"
    return None


def check_availability(rows: SetRows, everyone: Sequence[AtRisk], position: np.ndarray) -> list[Finding]:
    """Compare the subjects with and without a modality.

    Parameters
    ----------
    rows : SetRows
        Who has a row in the feature set.
    everyone : sequence of AtRisk
        The subjects at risk of each endpoint that uses the set, by their rows in the subject table.
    position : array
        Rows of the subject table that the set has.
    """
    findings = []
    for at_risk in everyone:
        present = np.isin(at_risk.rows, position)
        problem = _presence_tells(at_risk, present, "this modality")
        if problem is not None:
            remedy = (
                "Find out who gets it, and when. If that is decided after the index time, a model learns the outcome "
                "from who has it: restrict the cohort, or leave the feature set out"
            )
            place = f"{at_risk.endpoint}/{rows.name}"
            findings.append(Finding("availability_association", place, problem, int(present.sum()), remedy))
    return findings

"""Columns that all but tell the outcome: by their values, by their absence, or by a modality being there at all.

The thresholds lie far above what honest predictors reach: age in a cohort of adults separates deaths from survivors
with an area under the ROC curve of 0.8 to 0.9. A gate needs 20 subjects on each side, or 10 that are separated
without a single exception.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata

from riskweave.leaks.evidence import AtRisk, FeatureColumn, SetRows
from riskweave.leaks.finding import Finding, count
from riskweave.leaks.statistics import Ranked, auc, held_out_scores, spearman

__all__ = [
    "AGREEING",
    "CERTAIN",
    "COMMON",
    "CONTRASTS",
    "FEWEST",
    "SEPARATED",
    "ColumnGates",
    "check_availability",
]

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
AGREEING = 0.75
"""Correlation of having a value with having the event from which the value foretells it."""
FEW_VALUES = 12
"""A column of numbers with at most so many different ones may be codes: it is judged as categories too."""

_WHEN = (
    "Find out when and how it is recorded. If it is known only after the index time, take it out of the feature set; "
    "if it is known by then, allow the finding"
)


_CENSORED, _TARGET, _COMPETING = range(3)
CONTRASTS = (
    ("the target event", (_TARGET,), (_CENSORED,)),
    ("the target event", (_TARGET,), (_CENSORED, _COMPETING)),
    ("a competing event", (_COMPETING,), (_CENSORED, _TARGET)),
)
"""What happened to the subjects who are told apart, and to those whom they are told from."""
_GROUPS = (
    (_TARGET, "who have the target event", EVENT_TIMES),
    (_COMPETING, "who have a competing event", EVENT_TIMES),
    (_CENSORED, "who are censored", CENSORING_TIMES),
)


class _Endpoint:
    """The subjects at risk of an endpoint, and what of them is the same for all columns.

    Attributes
    ----------
    kind : array (n,) of int
        Censored, target, competing.
    groups : dict of kind to array
        Who is of a kind, where 20 are and their times differ.
    ranks : dict of kind to array
        Ranks of their times.
    """

    def __init__(self, at_risk: AtRisk):
        self.name, self.rows, self.time = at_risk.endpoint, at_risk.rows, at_risk.time
        self.kind = np.minimum(at_risk.event, _COMPETING)
        self.groups, self.ranks = {}, {}
        for kind in range(3):
            group = np.flatnonzero(self.kind == kind)
            if len(group) >= FEWEST and len(np.unique(self.time[group])) >= 10:
                self.groups[kind], self.ranks[kind] = group, rankdata(self.time[group])
        self.times = len(np.unique(self.time))

    def table(self, places: np.ndarray, distinct: int) -> np.ndarray:
        """Count by distinct value and by what happened, of shape (distinct, 3); places of -1 are left out."""
        known = places >= 0
        return np.bincount(places[known] * 3 + self.kind[known], minlength=3 * distinct).reshape(-1, 3)


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
        self._endpoints = [_Endpoint(at_risk) for at_risk in rows.at_risk]
        self._missing: set[bytes] = set()

    def check(self, column: FeatureColumn, ranked: Ranked) -> list[Finding]:
        """Return what speaks against a column, at most one finding of a gate and endpoint."""
        findings = []
        for endpoint in self._endpoints:
            place = f"{endpoint.name}/{column.place}"
            places = ranked.place[endpoint.rows]
            table = endpoint.table(places, len(ranked.distinct))
            known = int(table.sum())
            copy = _copy(endpoint, places, table)
            if copy is not None:
                remedy = "Take it out of the feature set"
                findings.append(Finding("endpoint_copy", place, copy, known, remedy))
                continue
            for gate, problem in (
                ("outcome_association", _tells_event(endpoint, places, table, column.levels is not None)),
                ("time_association", _tells_time(endpoint, places, table, column.levels is not None)),
            ):
                if problem is not None:
                    findings.append(Finding(gate, place, problem, known, _WHEN))
        return findings + self._check_missing(column, ranked.known)

    def _check_missing(self, column: FeatureColumn, known: np.ndarray) -> list[Finding]:
        """Judge each pattern of missing values once: a code's columns mostly share theirs."""
        if known.all():
            return []
        pattern = hashlib.blake2b(np.packbits(known).tobytes(), digest_size=16).digest()
        if pattern in self._missing:
            return []
        self._missing.add(pattern)
        findings = []
        for endpoint in self._endpoints:
            present = known[endpoint.rows]
            problem = _presence_tells(endpoint, present, "a value")
            if problem is not None:
                place = f"{endpoint.name}/{column.place}"
                remedy = (
                    "Find out for whom it is recorded. If that is decided after the index time, take the column (and "
                    "others missing for the same subjects) out of the feature set"
                )
                findings.append(Finding("missingness_association", place, problem, int((~present).sum()), remedy))
        return findings


def _copy(endpoint: _Endpoint, places: np.ndarray, table: np.ndarray) -> str | None:
    """Tell whether a column repeats the endpoint's time or its kinds of event."""
    n, at_risk = int(table.sum()), len(places)
    if n < max(FEWEST, 0.95 * at_risk):
        return None
    used = table.any(axis=1)
    distinct = np.count_nonzero(used)
    # A column with fewer values than a quarter of the times can have no such rank correlation with them.
    if distinct >= 10 and distinct * 4 >= endpoint.times:
        known = places >= 0
        value = spearman(places[known], endpoint.time[known]) if _may_order(endpoint, places, table) else 0.0
        if abs(value) >= COPY_TIMES:
            return f"its values are those of the endpoint's time in {count(n)} of {count(at_risk)} subjects at risk"
    if 2 <= distinct <= FEW_VALUES:
        table = table[used]
        says = table.argmax(axis=1)
        right = np.bincount(says, weights=table.max(axis=1), minlength=3)
        kinds = table.sum(axis=0)
        if (kinds[:2] >= FEWEST_SEPARATED).all() and (right[:2] >= COPY_EVENTS * kinds[:2]).all():
            return f"its values are those of the endpoint's event in {count(n)} of {count(at_risk)} subjects at risk"
    return None


def _may_order(endpoint: _Endpoint, places: np.ndarray, table: np.ndarray) -> bool:
    """Tell whether a column that copies the time would look as it does: cheaply, on the groups ranked before."""
    return all(abs(_order(endpoint, kind, places, table)[0]) >= EVENT_TIMES for kind in endpoint.groups)


def _order(endpoint: _Endpoint, kind: int, places: np.ndarray, table: np.ndarray) -> tuple[float, int]:
    """Return the rank correlation of a column with the time in a group, and the size of the group that has a value.

    Times keep the ranks that they have in the whole group: where many lack a value it is an approximation.
    """
    group = endpoint.groups[kind]
    taken = places[group] >= 0
    place = places[group[taken]]
    if len(place) < FEWEST:
        return 0.0, len(place)
    counts = table[:, kind]
    a, b = (np.cumsum(counts) - counts / 2)[place], endpoint.ranks[kind][taken]
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt((a * a).sum() * (b * b).sum())
    return (float((a * b).sum() / scale) if scale else 0.0), len(place)


def _tells_event(endpoint: _Endpoint, places: np.ndarray, table: np.ndarray, categorical: bool) -> str | None:
    """Tell whether values separate the subjects with an event from those without."""
    if len(table) < 2:
        return None
    few = categorical or len(table) <= FEW_VALUES
    halves = _halves(endpoint, places, len(table)) if few and (categorical or len(table) > 2) else None
    for what, positive, negative in CONTRASTS:
        counts = table[:, negative].sum(axis=1), table[:, positive].sum(axis=1)
        negatives, positives = (int(side.sum()) for side in counts)
        if min(positives, negatives) < FEWEST_SEPARATED:
            continue
        value = 0.5 if categorical else auc(*counts)
        if halves is not None and not _is_separation(value, positives, negatives):
            value = _held_out_auc(halves[..., negative].sum(axis=-1), halves[..., positive].sum(axis=-1))
        if _is_separation(value, positives, negatives):
            return (
                f"its values tell {count(positives)} subjects with {what} from {count(negatives)} without (area under "
                f"the ROC curve {max(value, 1 - value):.3f})"
            )
        if few and (found := _certain_level(*counts)):
            return f"one of its values is found in {count(found)} subjects, and goes with {what}"
    return None


def _halves(endpoint: _Endpoint, places: np.ndarray, distinct: int) -> np.ndarray:
    """Count by half of the subjects, by distinct value and by what happened: (2, distinct, 3)."""
    half = np.arange(len(places)) % 2
    known = places >= 0
    cell = (half[known] * distinct + places[known]) * 3 + endpoint.kind[known]
    return np.bincount(cell, minlength=6 * distinct).reshape(2, distinct, 3)


def _held_out_auc(negatives: np.ndarray, positives: np.ndarray) -> float:
    """Return the area under the ROC curve of categories, each scored by the half of the subjects it is not tried on.

    Scored by its own subjects, a category of one subject would tell that subject's event.

    Parameters
    ----------
    negatives, positives : array (2, k)
        Counts of each category by half.
    """
    values = []
    for side in (0, 1):
        other = 1 - side
        total = negatives[other] + positives[other]
        overall = positives[other].sum() / max(total.sum(), 1)
        scores = np.where(total > 0, positives[other] / np.maximum(total, 1), overall)
        _, level = np.unique(scores, return_inverse=True)
        values.append(auc(np.bincount(level, weights=negatives[side]), np.bincount(level, weights=positives[side])))
    return float(np.mean(values)) if np.isfinite(values).all() else 0.5


def _certain_level(negatives: np.ndarray, positives: np.ndarray) -> int:
    """Return how many subjects have a value that foretells the event, 0 when no value does.

    A value foretells it where all but all who have it have the event, and where having the one and the other agree
    (phi, Pearson's correlation of the two).
    """
    carriers = negatives + positives
    without, events = carriers.sum() - carriers, positives.sum()
    others = (events - positives) / np.maximum(without, 1)
    certain = (positives >= CERTAIN * carriers) & (others <= COMMON)
    spread = np.sqrt(carriers.astype(float) * without * events * negatives.sum())
    phi = (positives * carriers.sum() - carriers.astype(float) * events) / np.maximum(spread, 1)
    certain = (carriers >= FEWEST) & (certain | (phi >= AGREEING))
    return int(carriers[certain].max()) if certain.any() else 0


def _tells_time(endpoint: _Endpoint, places: np.ndarray, table: np.ndarray, categorical: bool) -> str | None:
    """Tell whether values order the subjects by how long they were observed."""
    for kind, who, threshold in _GROUPS:
        if kind not in endpoint.groups:
            continue
        if categorical:
            group = endpoint.groups[kind]
            group = group[places[group] >= 0]
            n = len(group)
            value = 0.0
            if n >= FEWEST:
                value = spearman(held_out_scores(places[group], endpoint.time[group]), endpoint.time[group])
        else:
            value, n = _order(endpoint, kind, places, table)
        if abs(value) >= threshold:
            return (
                f"its values go with the time of observation of the {count(n)} subjects {who} (rank correlation "
                f"{abs(value):.3f})"
            )
    return None


def _presence_tells(endpoint: _Endpoint, present: np.ndarray, what: str) -> str | None:
    """Tell whether having something at all (a value, a modality) goes with the event or with the time."""
    table = endpoint.table(present.astype(int), 2)
    if table.sum(axis=1).min() < FEWEST:
        return None
    for which, positive, negative in CONTRASTS:
        counts = table[:, negative].sum(axis=1), table[:, positive].sum(axis=1)
        negatives, positives = (int(side.sum()) for side in counts)
        if min(positives, negatives) < FEWEST:
            continue
        shares = counts[1][1] / positives, counts[0][1] / negatives
        if abs(shares[0] - shares[1]) >= MISSING_APART or _certain_level(*counts):
            return (
                f"{shares[0]:.0%} of {positives} subjects with {which} have {what}, and {shares[1]:.0%} of "
                f"{negatives} without"
            )
    for kind, who in ((_TARGET, "with the target event"), (_CENSORED, "who are censored")):
        if kind not in endpoint.groups or table[:, kind].min() < FEWEST:
            continue
        # The sum of ranks of one side is Mann and Whitney's, and gives the area under the ROC curve.
        having, lacking = table[1, kind], table[0, kind]
        ranks = endpoint.ranks[kind][present[endpoint.groups[kind]]].sum()
        value = (ranks - having * (having + 1) / 2) / (having * lacking)
        if max(value, 1 - value) >= SEPARATED:
            longer = "longer" if value > 0.5 else "shorter"
            return f"subjects {who} are observed {longer} where they have {what} ({count(int(having))} of them have)"
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
        problem = _presence_tells(_Endpoint(at_risk), present, "this modality")
        if problem is not None:
            remedy = (
                "Find out who gets it, and when. If that is decided after the index time, a model learns the outcome "
                "from who has it: restrict the cohort, or leave the feature set out"
            )
            place = f"{at_risk.endpoint}/{rows.name}"
            findings.append(Finding("availability_association", place, problem, int(present.sum()), remedy))
    return findings

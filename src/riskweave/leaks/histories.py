"""Sparse histories: each of thousands of codes is a column that may give the outcome away."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import scipy.sparse

from riskweave.cohort.codes import matches
from riskweave.leaks.association import AGREEING, CERTAIN, COMMON, CONTRASTS, FEWEST, SEPARATED
from riskweave.leaks.evidence import AtRisk, Evidence, SetRows
from riskweave.leaks.finding import SUPPRESS_BELOW, Finding, count
from riskweave.leaks.names import STRONG, suspicious
from riskweave.leaks.selection import own_codes
from riskweave.modalities.base import read_sparse

__all__ = ["check_histories", "telling_codes"]

_REMEDY = (
    "Find out when the code is recorded. If it is known only after the index time, take it out of the history's codes; "
    "if it is known by then, allow the finding"
)


def telling_codes(with_event: np.ndarray, without: np.ndarray, events: int, others: int) -> np.ndarray:
    """Tell which codes foretell an event, by the thresholds for categories and columns (`leaks.association`).

    Parameters
    ----------
    with_event, without : array (n_codes,)
        Carriers of each code among the subjects with and without the event.
    events, others : int
        Subjects with and without the event.

    Returns
    -------
    array (n_codes,) of bool
        Codes of at least 20 carriers who all but all have the event; or whose carriers and the event agree; or that
        separate the two (area under the ROC curve of a column of 0 and 1: half of 1 + sensitivity + specificity - 1).
    """
    carriers, rest = with_event + without, events + others - with_event - without
    certain = (with_event >= CERTAIN * carriers) & ((events - with_event) <= COMMON * np.maximum(rest, 1))
    spread = np.sqrt(carriers.astype(float) * rest * events * others)
    phi = (with_event * (events + others) - carriers.astype(float) * events) / np.maximum(spread, 1)
    area = 0.5 + np.abs(with_event / max(events, 1) - without / max(others, 1)) / 2
    apart = (area >= SEPARATED) & (min(events, others) >= FEWEST)
    return (carriers >= FEWEST) & (certain | (phi >= AGREEING) | apart)


def _carriers(present: scipy.sparse.csr_array, at_risk: AtRisk) -> tuple[np.ndarray, np.ndarray]:
    """Return carriers of each code, and subjects, by what happened: (n_codes, 3) and (3,)."""
    kind = np.minimum(at_risk.event, 2)
    what = np.zeros((present.shape[0], 3))
    what[at_risk.rows, kind] = 1
    return np.asarray(present.T @ what).astype(np.int64), np.bincount(kind, minlength=3)


def _of_endpoint(
    evidence: Evidence, at_risk: AtRisk, place: str, codes: pd.Series, present: scipy.sparse.csr_array
) -> Iterator[Finding]:
    table, total = _carriers(present, at_risk)
    seen = set()
    for what, positive, negative in CONTRASTS:
        sides = [(table[:, list(kinds)].sum(axis=1), int(total[list(kinds)].sum())) for kinds in (positive, negative)]
        (with_event, events), (without, others) = sides
        for number in np.flatnonzero(telling_codes(with_event, without, events, others)):
            if number not in seen:
                seen.add(number)
                carriers = int(table[number].sum())
                problem = (
                    f"of the {count(carriers)} subjects who have this code nearly all, and few others, have {what}"
                )
                if with_event[number] / events < without[number] / others:
                    problem = f"the code tells the subjects without {what} from those with it"
                where = f"{at_risk.endpoint}/{place}.{codes[number]}"
                yield Finding("outcome_association", where, problem, carriers, _REMEDY)
    own = matches(codes, own_codes(evidence.endpoints[at_risk.endpoint])).to_numpy()
    for number in np.flatnonzero(own & (table.sum(axis=1) >= SUPPRESS_BELOW)):
        carriers = int(table[number].sum())
        problem = f"it is a code of the endpoint itself, and {carriers} subjects at risk have it"
        remedy = "Take these codes out of the history, or make the feature table again"
        yield Finding("target_code_feature", f"{at_risk.endpoint}/{place}.{codes[number]}", problem, carriers, remedy)


def check_histories(evidence: Evidence, rows: SetRows) -> Iterator[Finding]:
    """Judge each code of the sparse columns of a feature set: by its name, and by who has it.

    The carriers of all codes are counted at once, by one product of the sparse table with what happened.
    """
    columns, _ = read_sparse(evidence.tables[rows.name])
    for name, column in columns.items():
        codes, place = pd.Series(column.codes, dtype=object), f"{rows.name}.{name}"
        for code in codes:
            kind = suspicious(code)
            if kind in STRONG:
                problem = f"the name says {kind}, which is known only after the index time"
                yield Finding("name_pattern", f"{place}.{code}", problem, None, _REMEDY)
        present = column.matrix.copy()
        present.data = np.ones_like(present.data)
        for at_risk in rows.at_risk:
            yield from _of_endpoint(evidence, at_risk, place, codes, present)

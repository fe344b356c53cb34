"""Pairs of columns that together tell the follow-up: an age, or a year, at its end beside that at the index time."""

from itertools import combinations

import numpy as np

from riskweave.leaks.evidence import FeatureColumn, SetRows
from riskweave.leaks.finding import Finding, count

__all__ = ["PairGate"]

_SAMPLE, _FEWEST, _MOST = 2000, 20, 60
_TOLD = 0.99


class PairGate:
    """Correlates the differences of static columns with the time of observation, on some subjects of each endpoint."""

    def __init__(self, rows: SetRows):
        self._rows = rows
        rng = np.random.default_rng(1)
        self._samples = [
            np.sort(rng.permutation(len(one.rows))[:_SAMPLE]) if len(one.rows) else np.empty(0, int)
            for one in rows.at_risk
        ]
        self._columns: list[tuple[FeatureColumn, list[np.ndarray]]] = []

    def add(self, column: FeatureColumn, *, told: bool) -> None:
        """Take in a column; those that other gates speak against already, and others than numbers, are left out."""
        if column.static and column.levels is None and not told and len(self._columns) < _MOST:
            parts = [
                column.numbers[one.rows[sample]] for one, sample in zip(self._rows.at_risk, self._samples, strict=True)
            ]
            self._columns.append((column, parts))

    def findings(self) -> list[Finding]:
        """Return the pairs whose difference goes with the time (correlation of 0.99 and above)."""
        findings = []
        for (first, one), (second, other) in combinations(self._columns, 2):
            for at_risk, sample, a, b in zip(self._rows.at_risk, self._samples, one, other, strict=True):
                value, n = _correlation(a - b, at_risk.time[sample])
                if abs(value) >= _TOLD:
                    problem = (
                        f"its difference from column {first.name} is the time of observation (correlation "
                        f"{abs(value):.3f}, {count(n)} subjects looked at)"
                    )
                    remedy = "One of the two is known only at the end of follow-up: take it out of the feature set"
                    findings.append(
                        Finding("time_association", f"{at_risk.endpoint}/{second.place}", problem, n, remedy)
                    )
        return findings


def _correlation(values: np.ndarray, time: np.ndarray) -> tuple[float, int]:
    known = ~np.isnan(values)
    n = int(known.sum())
    if n < _FEWEST or len(np.unique(time[known])) < 10 or np.ptp(values[known]) == 0:
        return 0.0, n
    return float(np.corrcoef(values[known], time[known])[0, 1]), n

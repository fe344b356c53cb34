"""Gates of identity: one person as two, one file under two people, identifiers that know the outcome."""

import logging
import re

import numpy as np
import pandas as pd

from riskweave.cohort.tables import SUBJECTS
from riskweave.leaks.evidence import AtRisk, Evidence, FeatureColumn
from riskweave.leaks.finding import Finding, count
from riskweave.leaks.statistics import Ranked, auc, held_out_scores, spearman
from riskweave.parquet import read_frame

__all__ = ["DuplicateRows", "check_identifier_column", "check_identifiers", "check_people", "check_shared_files"]

logger = logging.getLogger(__name__)

_FEWEST = 20
_ID_SEPARATED = 0.9
"""Area under the ROC curve from which identifiers tell the event: they are to know nothing."""
_DISTINCT = 0.95
_MARGIN = 15.0
"""Bits beyond those that make one pair of equal rows likely by chance: 1 in 30,000."""
_GROUPS = 3
"""Groups of equal people from which they are told: variables depend on each other, and a pair may still be chance."""
_SAMPLE, _ALIKE = 2000, 0.95
_ID_WORD = re.compile(r"(^|_)(id|mrn|ssn|uuid|guid|identifier|pid|patientid|subjectid)$", re.IGNORECASE)


def _person_of(evidence: Evidence) -> pd.Series:
    return evidence.subjects.set_index("subject_id")["person_id"]


def check_people(evidence: Evidence) -> list[Finding]:
    """Find people, and identifiers that differ in spelling alone, with different roles in one fold."""
    person = evidence.folds["subject_id"].map(_person_of(evidence))
    findings = []
    split = _with_two_roles(evidence.folds.assign(person=person))
    if split:
        problem = f"{count(split)} people have subjects of the study with different roles in the same fold"
        remedy = (
            "All subjects of a person belong together: remove cohort/folds.parquet and let the pipeline divide again"
        )
        findings.append(Finding("subject_in_two_folds", "person_id", problem, split, remedy))
    people = pd.Series(evidence.subjects["person_id"].unique())
    spelt = people.str.casefold().str.replace(r"\s+", "", regex=True).str.replace(r"(?<!\d)0+(?=\d)", "", regex=True)
    alike = people[spelt.duplicated(keep=False)]
    if len(alike):
        names = pd.Series(spelt[alike.index].to_numpy(), index=alike.to_numpy())
        rows = evidence.folds.assign(person=person.map(names)).dropna(subset=["person"])
        split = _with_two_roles(rows)
        if split:
            problem = (
                f"{count(split)} groups of identifiers differ only in case, blanks or leading zeros, and have "
                "different roles in the same fold: they look like the same people"
            )
            remedy = "Write each person's identifier in one way in all tables"
            findings.append(Finding("subject_in_two_folds", "spelling", problem, split, remedy))
    return findings


def _with_two_roles(rows: pd.DataFrame) -> int:
    roles = rows[["person", "fold", "role"]].drop_duplicates()
    return int(roles.loc[roles.duplicated(["person", "fold"]), "person"].nunique())


def check_shared_files(evidence: Evidence) -> list[Finding]:
    """Find recordings, images and sounds of the same content under two people."""
    fold = pd.Series(evidence.tested.to_numpy(), index=evidence.subjects["person_id"].to_numpy())
    fold = fold[~fold.index.duplicated()]
    findings = []
    for kind, path in sorted(evidence.manifests.items()):
        manifest = read_frame(path, columns=["subject_id", "sha256"]).drop_duplicates()
        manifest = manifest[manifest["subject_id"].isin(fold.index)]
        shared = manifest[manifest.duplicated("sha256", keep=False)]
        if shared.empty:
            continue
        folds = shared.assign(fold=shared["subject_id"].map(fold)).groupby("sha256")["fold"].nunique()
        people, apart = shared["subject_id"].nunique(), int((folds > 1).sum())
        problem = (
            f"{count(len(folds))} files are, byte for byte, those of two or more people ({count(people)} people; "
            f"{count(apart) if apart else 'none'} of these files in more than one test fold)"
        )
        remedy = (
            "Find out whose they are, and take the others out of the manifest; people who are one need one identifier"
        )
        findings.append(Finding(f"{kind[:-1]}_shared", kind, problem, people, remedy))
    return findings


class DuplicateRows:
    """Finds people whose values are the same in all columns of the subject table and of the EHR feature sets.

    Rows are compared by a digest, and equal ones count where they hold much: the information of a row is the sum over
    its measured variables of the binary logarithm of how rare its value is. Rows without it (the same age and sex, no
    event at all) are equal by chance.
    """

    def __init__(self, subjects: pd.DataFrame):
        n = len(subjects)
        further = subjects.columns.difference(SUBJECTS.columns.names)
        # A source may know nothing of its subjects but their events: then all rows are equal so far.
        self._digest = np.zeros(n, dtype=np.uint64)
        if len(further):
            self._digest += pd.util.hash_pandas_object(subjects[further], index=False).to_numpy(dtype=np.uint64)
        self._information = np.zeros(n)
        self._of_stem = np.zeros(n)
        self._stem: str | None = None
        self._seen: set[str] = set()
        self._samples: list[np.ndarray] = []

    def add(self, column: FeatureColumn, ranked: Ranked, position: np.ndarray) -> None:
        """Take in a column; columns of the same events follow each other and count as one.

        Parameters
        ----------
        column : FeatureColumn
            The column.
        ranked : Ranked
            Its values.
        position : array (n,) of int
            The subject of each of its rows.
        """
        if column.stem != self._stem:
            self._close()
            self._stem = column.stem
        # The constant is that of Knuth's multiplicative hashing, 2**64 over the golden ratio; overflow wraps round.
        values = np.ascontiguousarray(np.where(ranked.known, column.numbers, np.nan)).view(np.uint64)
        values = (values ^ (values >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
        self._digest[position] = (self._digest[position] ^ values) * np.uint64(0x9E3779B97F4A7C15)
        self._digest[position] ^= self._digest[position] >> np.uint64(32)
        if (
            column.aggregate in ("ever", "count")
            or column.stem in self._seen
            or self._is_told(column, ranked, position)
        ):
            return
        counts = np.bincount(ranked.place[ranked.known], minlength=len(ranked.distinct))
        rare = np.zeros(len(column.numbers))
        rare[ranked.known] = -np.log2(counts[ranked.place[ranked.known]] / ranked.known.sum())
        self._of_stem[position] = np.maximum(self._of_stem[position], rare)

    def _is_told(self, column: FeatureColumn, ranked: Ranked, position: np.ndarray) -> bool:
        """Tell whether another static column orders the subjects alike (an age group beside the age)."""
        if not column.static:
            return False
        sample = np.full(min(len(self._digest), _SAMPLE), -1)
        inside = position < len(sample)
        sample[position[inside]] = ranked.place[inside]
        for other in self._samples:
            both = (sample >= 0) & (other >= 0)
            if both.any() and abs(spearman(sample[both], other[both])) >= _ALIKE:
                return True
        self._samples.append(sample)
        return False

    def _close(self) -> None:
        self._information += self._of_stem
        self._of_stem[:] = 0
        if self._stem is not None:
            self._seen.add(self._stem)

    def findings(self, evidence: Evidence) -> list[Finding]:
        """Return what the columns together say."""
        self._close()
        needed = 2 * np.log2(max(len(self._digest), 2)) + _MARGIN
        rows = pd.DataFrame({
            "digest": self._digest,
            "person": evidence.subjects["person_id"].to_numpy(),
            "fold": evidence.tested.to_numpy(),
        })[self._information >= needed]  # fmt: skip
        equal = rows.drop_duplicates(["digest", "person"])
        equal = equal[equal.duplicated("digest", keep=False)]
        folds = equal.groupby("digest")["fold"].nunique()
        if len(folds) < _GROUPS:
            if len(folds):
                logger.info("%s people have the same values as another: too few to be told", count(len(equal)))
            return []
        apart = int((folds > 1).sum())
        problem = (
            f"{count(equal['person'].nunique())} people have the same values as another person in all columns of the "
            f"subject table and the feature sets, too many to be chance ({count(apart) if apart else 'none'} of the "
            "groups in more than one test fold)"
        )
        remedy = "If they are the same people, give them one identifier, or remove the copies"
        return [Finding("duplicate_subjects", "features", problem, equal["person"].nunique(), remedy)]


def _numeric_parts(ids: pd.Series) -> np.ndarray:
    """Return the last run of digits of each identifier as a number, NaN where there is none."""
    return pd.to_numeric(ids.str.extract(r"(\d{1,15})\D*$")[0], errors="coerce").to_numpy(dtype=float)


def check_identifiers(evidence: Evidence) -> list[Finding]:
    """Find identifiers whose number, order or letters tell who has the event."""
    ids = evidence.subjects["person_id"]
    order = ids.rank(method="average").to_numpy(dtype=float)
    letters = pd.factorize(ids.str.replace(r"\d+", "", regex=True))[0]
    number = _numeric_parts(ids)
    findings = []
    for endpoint in evidence.outcomes:
        at_risk = evidence.at_risk(endpoint, evidence.subjects["subject_id"])
        for what, values in (("number", number), ("order", order), ("letters", letters)):
            value = _tells(at_risk, values[at_risk.rows], categorical=what == "letters")
            if value is not None:
                problem = f"the {what} of the identifiers tells {value} of {len(at_risk.rows)} subjects at risk"
                remedy = (
                    "The tables were put together by outcome: make sure that nothing else in them follows from it (who "
                    "was selected, which files people have), give identifiers at random, then allow the finding"
                )
                findings.append(Finding("identifier_encodes_outcome", endpoint, problem, len(at_risk.rows), remedy))
                break
    return findings


def _tells(at_risk: AtRisk, values: np.ndarray, *, categorical: bool) -> str | None:
    target = at_risk.event == 1
    if min(target.sum(), (~target).sum()) < _FEWEST:
        return None
    if categorical:
        if values.min() == values.max():
            return None
        values = held_out_scores(values, target.astype(float))
    ranked = Ranked.of(values.astype(float))
    negative, positive = (np.flatnonzero(side & ranked.known) for side in (~target, target))
    if min(len(negative), len(positive)) < _FEWEST:
        return None
    value = auc(ranked.counts(negative), ranked.counts(positive))
    if max(value, 1 - value) >= _ID_SEPARATED:
        return f"the event (area under the ROC curve {max(value, 1 - value):.3f})"
    time = at_risk.time[positive]
    if not categorical and len(np.unique(time)) >= 10 and abs(spearman(values[positive], time)) >= _ID_SEPARATED:
        return "the time of the event"
    return None


def check_identifier_column(column: FeatureColumn, ranked: Ranked, ids: pd.Series) -> list[Finding]:
    """Find static columns that name subjects: texts all different, running numbers, the identifier's number."""
    n = int(ranked.known.sum())
    if not column.static or n < _FEWEST or len(ranked.distinct) < _DISTINCT * n:
        return []
    values = column.numbers[ranked.known]
    unique = column.levels is not None
    if not unique and (values == np.floor(values)).all():
        running = len(ranked.distinct) == n and np.ptp(values) < 1.01 * n and n >= 50
        same = np.mean(values == _numeric_parts(ids[ranked.known])) >= _DISTINCT
        unique = bool(running or same or _ID_WORD.search(column.name))
    if not unique:
        return []
    problem = f"its {count(n)} values are different for all but all subjects: it names them"
    remedy = "Take it out of the feature set: a model can only learn people by heart from it"
    return [Finding("identifier_feature", column.place, problem, n, remedy)]

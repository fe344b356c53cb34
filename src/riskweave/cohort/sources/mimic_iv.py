"""MIMIC-IV's raw hospital tables, with MIMIC-IV-ECG and MIMIC-CXR-JPG: from files as PhysioNet distributes them.

Johnson AEW, Bulgarelli L, Shen L, et al. MIMIC-IV, a freely accessible electronic health record dataset. Sci Data
2023;10:1. What its columns mean: https://mimic.mit.edu/docs/iv/. Which rows become which events:
`riskweave.cohort.sources.mimic_iv_tables`.

- Birth: the first of January of anchor_year - anchor_age, so that whole years of age agree with MIMIC's own. Ages over
  89 are written as 91 and stay so.
- Death: the earliest deathtime of a stay, otherwise patients.dod (a day).
- End of follow-up: deaths are known to one year after the last discharge (the registry was searched so far), so that is
  where the observation of survivors ends. People without a stay have none.

Left out because it is known only afterwards: hospital_expire_flag, lengths of stay (icustays.los).
"""

import re
from pathlib import Path

import duckdb

from riskweave.cohort.manifests import relative
from riskweave.cohort.sources.base import CanonicalTables, EventQuery, empty_manifest
from riskweave.cohort.sources.mimic_iv_files import ecg_manifest, radiograph_manifest
from riskweave.cohort.sources.mimic_iv_raw import FoundTable, check_table, find_tables, view_sql
from riskweave.cohort.sources.mimic_iv_tables import Event
from riskweave.errors import DataError
from riskweave.study.sources import MimicSource

__all__ = ["read_mimic_iv"]

_DEATH = """
CREATE TEMP VIEW mimic_lives AS
SELECT subject_id, coalesce(min(deathtime), any_value(dod)) AS death, max(dischtime) AS last_discharge
FROM mimic_patients LEFT JOIN mimic_admissions USING (subject_id) GROUP BY subject_id
"""
_SUBJECTS = """
SELECT subject_id, greatest(last_discharge + INTERVAL 1 YEAR, death) AS followup_end, gender, anchor_year_group
FROM mimic_patients JOIN mimic_lives USING (subject_id) ORDER BY subject_id
"""
_DEATHS = "SELECT subject_id, death, 'MEDS_DEATH', NULL::FLOAT, NULL, NULL FROM mimic_lives WHERE death IS NOT NULL"


def read_mimic_iv(block: MimicSource) -> CanonicalTables:
    """Read MIMIC-IV's tables, those that are there; patients and admissions must be.

    Parameters
    ----------
    block : MimicSource
        The study's block.

    Returns
    -------
    CanonicalTables
        Subject columns followup_end, gender, anchor_year_group. There is no index time: the study's `population` makes
        one. Events are a query, because laboratory and charted events run to hundreds of millions.

    Raises
    ------
    DataError
        For a folder, table, column or value that cannot be used; see `check_table`.
    """
    root = Path(block.path)
    found = find_tables(root)
    setup = (*(view_sql(table) for table in found.values()), _DEATH)
    with duckdb.connect(config={"threads": 1}) as connection:
        for statement in setup:
            connection.execute(statement)
        for table in found.values():
            check_table(connection, table)
        subjects = connection.sql(_SUBJECTS).to_arrow_table()
    ends = subjects.column("followup_end")
    if ends.null_count == len(ends):
        where = found["admissions"].file.where
        raise DataError(where, "no person has a discharge or a death: the end of follow-up is unknown", "Take it whole")
    queries = [_select(table, event) for table in found.values() for event in table.table.events]
    return CanonicalTables(
        subjects=subjects,
        events=EventQuery(sql="\nUNION ALL\n".join([*queries, _DEATHS]), setup=setup),
        recordings=ecg_manifest(Path(block.ecg), subjects) if block.ecg else empty_manifest(),
        images=radiograph_manifest(Path(block.cxr), subjects) if block.cxr else empty_manifest(),
        where=found["patients"].file.where,
        events_where=f"cohort.path ({root.as_posix()})",
        version=_version(root),
        files=tuple(relative(Path(path)).as_posix() for path in (block.path, block.ecg, block.cxr) if path),
    )


def _select(found: FoundTable, event: Event) -> str:
    """Return the query of an event; stays date what is billed after them."""
    source = f"{found.name} AS raw"
    if found.table.keyed:
        source += " JOIN (SELECT hadm_id, dischtime FROM mimic_admissions) USING (hadm_id)"
    dated = "" if event.time == "NULL" else f" AND ({event.time}) IS NOT NULL"
    return (
        f"SELECT {'DISTINCT ' if event.distinct else ''}subject_id, CAST({event.time} AS TIMESTAMP) AS time, "
        f"{event.code} AS code, CAST({event.number} AS FLOAT) AS numeric_value, CAST({event.text} AS VARCHAR) AS "
        f"text_value, CAST({event.unit} AS VARCHAR) AS unit FROM {source} "
        f"WHERE ({event.where}) AND ({event.code}) IS NOT NULL{dated}"
    )


def _version(root: Path) -> str | None:
    """Return the version that the folder's name gives, as PhysioNet names folders (mimiciv/3.1, mimic-iv-demo-2.2)."""
    number = re.search(r"(?:^|[-_])v?(\d+\.\d+(?:\.\d+)?)$", root.absolute().name)
    return f"MIMIC-IV {number[1]}" if number else None

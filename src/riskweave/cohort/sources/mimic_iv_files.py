"""ECGs of MIMIC-IV-ECG and radiographs of MIMIC-CXR-JPG, linked to MIMIC-IV by subject_id and time through their lists.

- MIMIC-IV-ECG: record_list.csv names a WFDB record (path, without suffix) and its time (ecg_time). The time is that of
  the machine's own clock, which nobody has set to the hospital's: it can differ from other tables by minutes to hours.
- MIMIC-CXR-JPG: mimic-cxr-2.0.0-metadata.csv.gz gives StudyDate (YYYYMMDD) and StudyTime (HHMMSS.fff, without the zeros
  at its beginning) of each image, which lies in files/p<two digits>/p<subject_id>/s<study_id>/<dicom_id>.jpg. Frontal
  views (ViewPosition AP and PA) are kept. The times are in the clock of MIMIC-IV.

Both sets hold people whom MIMIC-IV lacks: their rows are left out. The files of everybody else must be there.
"""

import logging
from pathlib import Path

import duckdb
import pyarrow as pa

from riskweave.cohort.manifests import record_files, single_file, with_fingerprints
from riskweave.cohort.reading import InputFile
from riskweave.cohort.sources.base import text_sql
from riskweave.cohort.sources.mimic_iv_raw import header_of
from riskweave.errors import DataError, nearest

__all__ = ["ecg_manifest", "radiograph_manifest"]

_LOG = logging.getLogger(__name__)
_LISTS = {
    "cohort.ecg": ("record_list.csv", "record_list.csv.gz"),
    "cohort.cxr": (
        "mimic-cxr-2.0.0-metadata.csv.gz",
        "mimic-cxr-2.0.0-metadata.csv",
        "mimic-cxr-2.1.0-metadata.csv.gz",
    ),
}
_ECG_SQL = "TRY_CAST(ecg_time AS TIMESTAMP) AS time, path, true AS wanted"
# 213014.531 is 21:30:14.531 and 101.0 is 00:01:01.
_CXR_SQL = """
try_strptime(StudyDate || ' ' || lpad(split_part(StudyTime, '.', 1), 6, '0'), '%Y%m%d %H%M%S') AS time,
'files/p' || substr(subject_id, 1, 2) || '/p' || subject_id || '/s' || study_id || '/' || dicom_id || '.jpg' AS path,
upper(trim(coalesce(ViewPosition, ''))) IN ('AP', 'PA') AS wanted
"""


def ecg_manifest(folder: Path, people: pa.Table) -> pa.Table:
    """Return the recordings of MIMIC-IV-ECG of some people.

    Parameters
    ----------
    folder : Path
        Holds record_list.csv and files/.
    people : pyarrow.Table
        Column subject_id.

    Returns
    -------
    pyarrow.Table
        RECORDINGS.

    Raises
    ------
    DataError
        When the list, a column or a file is missing, or when rows have no time.
    """
    file = _list_of("cohort.ecg", folder, ("subject_id", "ecg_time", "path"))
    return with_fingerprints(_rows(file, _ECG_SQL, people), file, files_of=record_files)


def radiograph_manifest(folder: Path, people: pa.Table) -> pa.Table:
    """Return the frontal radiographs of MIMIC-CXR-JPG of some people; as `ecg_manifest`, for IMAGES."""
    columns = ("subject_id", "study_id", "dicom_id", "ViewPosition", "StudyDate", "StudyTime")
    file = _list_of("cohort.cxr", folder, columns)
    return with_fingerprints(_rows(file, _CXR_SQL, people), file, files_of=single_file)


def _list_of(key: str, folder: Path, columns: tuple[str, ...]) -> InputFile:
    """Return the list in a folder, which has the columns."""
    names = _LISTS[key]
    found = [folder / name for name in names if (folder / name).is_file()]
    if not found:
        remedy = f"Correct {key}: give the folder that holds {names[0]} and files/"
        raise DataError(f"{key} ({folder.as_posix()})", f"there is no file {names[0]}", remedy)
    file = InputFile(key, found[0])
    header = header_of(file)
    missing = [name for name in columns if name not in header]
    if missing:
        problem = f"there is no column {missing[0]!r}; the {len(header)} columns are: {', '.join(header)}"
        raise DataError(file.where, problem, f"Give the list as PhysioNet distributes it.{nearest(missing[0], header)}")
    return file


def _rows(file: InputFile, selects: str, people: pa.Table) -> pa.Table:
    """Return subject_id, time and path of the rows that are wanted."""
    types = ", ".join(f"{text_sql(name)}: 'VARCHAR'" for name in header_of(file))
    scan = (
        f"read_csv({text_sql(str(file.path))}, header = true, delim = ',', quote = '\"', escape = '\"', nullstr = '', "
        f"auto_detect = false, columns = {{{types}}})"
    )
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.register("people", people.select(["subject_id"]))
        try:
            connection.execute(
                "CREATE TEMP TABLE listed AS SELECT subject_id, "
                f"subject_id IN (SELECT subject_id FROM people) AS known, {selects} FROM {scan}"
            )
        except duckdb.Error:
            # DuckDB's own words quote the row: they are not passed on.
            raise DataError(file.where, "the file cannot be read to its end as CSV", "Download it again") from None
        rows, unknown, unwanted, undated = connection.execute(
            "SELECT count(*), count(*) FILTER (NOT known), count(*) FILTER (known AND NOT wanted), "
            "count(*) FILTER (known AND wanted AND time IS NULL) FROM listed"
        ).fetchall()[0]
        kept = connection.sql("SELECT subject_id, time, path FROM listed WHERE known AND wanted ORDER BY ALL")
        table = kept.to_arrow_table()
    if undated:
        problem = f"{undated} of {rows} rows have no date and time that can be read"
        raise DataError(file.where, problem, "Give the list as PhysioNet distributes it")
    if table.num_rows == 0:
        problem = f"none of the {rows} rows belongs to a person of the table patients ({unwanted} show other views)"
        raise DataError(file.where, problem, f"Give the folder of the same people, or remove {file.key}")
    _LOG.info("%s: %d rows; left out: %d of other people, %d of other views", file.where, rows, unknown, unwanted)
    return table

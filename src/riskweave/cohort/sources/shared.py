"""What every source of files may have beside its own tables: manifests of recordings and the like, further columns."""

import logging
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from riskweave.cohort.checks import check_known
from riskweave.cohort.convert import as_identifiers, as_static, count_true
from riskweave.cohort.manifests import read_manifest, record_files, relative, single_file
from riskweave.cohort.reading import InputFile, pick, read_file
from riskweave.cohort.sources.base import CanonicalTables
from riskweave.cohort.tables import SUBJECTS
from riskweave.errors import DataError
from riskweave.study.sources import FileSource

__all__ = ["with_further", "with_manifests"]

_LOG = logging.getLogger(__name__)


def _named(path: str) -> str:
    return relative(Path(path)).as_posix()


def with_manifests(tables: CanonicalTables, block: FileSource, *, allow_empty: bool = False) -> CanonicalTables:
    """Add the recordings, images and sounds of the manifests that the study names.

    Parameters
    ----------
    tables : CanonicalTables
        Of the source. Recordings, images and sounds that it has already stay.
    block : FileSource
        The study's block `cohort`.
    allow_empty : bool
        Whether manifests without rows are accepted (a generated cohort may have no recording).

    Raises
    ------
    DataError
        For manifests and files that cannot be used (`riskweave.cohort.manifests`), and for rows of nobody.
    """
    unit = "dates" if tables.dated else block.event_columns.time_unit
    zones, files, made = dict(tables.zones), list(tables.files), {}
    for name, files_of in (("recordings", record_files), ("images", single_file), ("sounds", single_file)):
        path = getattr(block, name)
        if path is None:
            continue
        file = InputFile(f"cohort.{name}", Path(path))
        table, zones[file.column("time")] = read_manifest(file, files_of=files_of, allow_empty=allow_empty, unit=unit)
        check_known(table=table, file=file, subjects=tables.subjects.column("subject_id"))
        made[name] = pa.concat_tables([getattr(tables, name), table.cast(getattr(tables, name).schema)])
        files.append(_named(path))
    return replace(tables, **made, zones=zones, files=tuple(files))


def with_further(tables: CanonicalTables, block: FileSource) -> CanonicalTables:
    """Add the columns of the further tables that the study names to the subject table.

    Rows of people who are not in the subject table are left out (a file of polygenic scores often covers more).

    Raises
    ------
    DataError
        When a file cannot be read, lists a subject twice, knows none of the subjects, or has a column that is there.
    """
    subjects, files, zones = tables.subjects, list(tables.files), dict(tables.zones)
    for number, path in enumerate(block.further):
        subjects = _joined(subjects, InputFile(f"cohort.further[{number}]", Path(path)), zones)
        files.append(_named(path))
    return replace(tables, subjects=subjects, zones=zones, files=tuple(files))


def _joined(subjects: pa.Table, file: InputFile, zones: dict[str, bool | None]) -> pa.Table:
    raw = read_file(file)
    subject_id = as_identifiers(pick(raw, file, "subject_id"), file.column("subject_id"))
    repeated = len(subject_id) - len(subject_id.unique())
    if repeated:
        problem = f"{repeated} of {len(subject_id)} rows repeat another row's identifier"
        raise DataError(file.column("subject_id"), problem, "Give one row per subject")
    taken = [name for name in raw.column_names if name != "subject_id" and name in {
        *subjects.column_names, *SUBJECTS.columns.names}]  # fmt: skip
    if taken:
        problem = f"{len(taken)} columns have names that the subject table has already: {', '.join(taken)}"
        raise DataError(file.where, problem, "Rename them in the file")
    people = subjects.column("subject_id")
    known = pc.is_in(subject_id, value_set=people.combine_chunks())
    found = count_true(known)
    if not found:
        check_known(table=pa.table({"subject_id": subject_id}), file=file, subjects=people)
    _LOG.info("%s: %d of %d subjects have a row; %d rows of others are left out",
              file.where, found, len(people), len(subject_id) - found)  # fmt: skip
    rows = pc.index_in(people, value_set=subject_id.combine_chunks())
    for name in raw.column_names:
        if name != "subject_id":
            column = as_static(pick(raw, file, name), file, name, zones)
            subjects = subjects.append_column(name, column.take(rows))
    return subjects

"""What recordings, images and sounds share: which files of a subject count, and reading many into one array."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import joblib
import numpy as np
import pandas as pd

from riskweave.cohort.times import DAY, TICK
from riskweave.errors import DataError
from riskweave.parquet import read_frame

__all__ = ["UnreadableFileError", "latest_files", "read_files"]

logger = logging.getLogger(__name__)

Facts = TypeVar("Facts")


class UnreadableFileError(ValueError):
    """A file cannot be used; the message says why, without anything of its content."""


def _known(index_times: pd.DataFrame, files: pd.DataFrame, known: pd.Series) -> pd.DataFrame:
    """Return for each subject the place of the last file that is known by then; without those that have none.

    Never all pairs of index times and files: these are the squares of what a person has.
    """
    found = pd.merge_asof(
        index_times.assign(known=known).sort_values("known", kind="stable"),
        files.sort_values(["time", "path"], kind="stable"),
        left_on="known",
        right_on="time",
        by="person_id",
    )
    return found.dropna(subset="time").astype({"place": "int64", "first": "int64"})


def _latest(index_times: pd.DataFrame, files: pd.DataFrame, most: int) -> tuple[pd.DataFrame, int]:
    """Return the latest files that are known at each subject's index time, and how many are known at any."""
    # A midnight covers its whole day, unless the index time is that midnight.
    moment = index_times["index_time"].astype("datetime64[us]")
    day = moment.dt.normalize()
    known = {False: moment, True: moment.where(moment == day, day - TICK)}
    files = files.assign(time=files["time"].astype("datetime64[us]")).dropna(subset="time")
    files = files.sort_values(["person_id", "time", "path"], kind="stable")
    is_date = files["time"] == files["time"].dt.normalize()
    parts, usable = [], 0
    for dates in (False, True):
        some = files[is_date == dates].reset_index(drop=True)
        some["place"] = np.arange(len(some))
        some["first"] = some.groupby("person_id")["place"].transform("min")
        last = _known(index_times, some, known[dates])
        # The files before the last one are those above it, up to the person's first.
        count = np.minimum(last["place"] - last["first"] + 1, most).to_numpy(dtype=np.int64)
        back = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        place = np.repeat(last["place"].to_numpy(), count) - back
        part = some.iloc[place][["time", "path", "row"]].reset_index(drop=True)
        part.insert(0, "subject_id", np.repeat(last["subject_id"].to_numpy(dtype=object), count))
        part["index_time"] = np.repeat(last["index_time"].to_numpy(dtype="datetime64[us]"), count)
        parts.append(part)
        usable += int((last.groupby("person_id")["place"].max() - last.groupby("person_id")["first"].max() + 1).sum())
    # An instant and a date are never the same time.
    chosen = pd.concat([part for part in parts if len(part)] or parts[:1]).sort_values(["subject_id", "time", "path"])
    return chosen.groupby("subject_id", sort=False).tail(most), usable


def latest_files(*, subjects: Path, manifest: Path, most: int = 1, window: int | None = None) -> pd.DataFrame:
    """Choose the latest files of each subject's person at or before the subject's index time.

    A person with several index times is several subjects, and a file may be one of more than one of them.

    A file of the very instant of the index time counts. A file dated at midnight is dated to the day only and may be of
    any hour of it: on the day of an index time with an hour it does not count. Of several files of one instant the last
    paths in alphabetical order are taken.

    Parameters
    ----------
    subjects : Path
        Table of subjects (subject_id, person_id, index_time).
    manifest : Path
        Table of recordings, images or sounds (subject_id: the person, time, path).
    most : int
        Files of a subject that are chosen.
    window : int, optional
        A file counts when it is less than so many days before the index time, as an event does.

    Returns
    -------
    pandas.DataFrame
        Columns subject_id, path and row (of the manifest, from 1), one to `most` rows per subject that has a file,
        sorted by subject_id and time: the latest file of a subject is its last row.

    Raises
    ------
    DataError
        When no subject has a file at or before the index time, or in the window.
    """
    index_times = read_frame(subjects, columns=["subject_id", "person_id", "index_time"])
    listed = read_frame(manifest, columns=["subject_id", "time", "path"])
    listed = listed.rename(columns={"subject_id": "person_id"})
    listed["row"] = np.arange(1, len(listed) + 1)
    files = listed[listed["person_id"].isin(index_times["person_id"])]
    chosen, usable = _latest(index_times, files, most)
    where = f"{manifest.name}, column time"
    if chosen.empty:
        problem = f"none of its {len(files)} file(s) of the study's subjects is dated at or before the index time"
        raise DataError(
            where,
            problem if len(files) else "it has no file of any subject of the study",
            "Features come from files at or before the index time: check the dates and the subject_id column of the "
            "manifest, or remove the feature set from the study.",
        )
    if window is not None:
        chosen = chosen[chosen["index_time"] - chosen["time"] < window * DAY]
        if chosen.empty:
            problem = f"none of its files is dated less than {window} days before the index time of a subject"
            raise DataError(where, problem, "Lengthen the window of the feature set, or remove the set.")
    logger.info(
        "%s: %d of %d subjects have a file at or before the index time; left out: %d later or undated file(s), "
        "%d earlier file(s) of the same subjects",
        manifest.name,
        chosen["subject_id"].nunique(),
        len(index_times),
        len(files) - usable,
        usable - chosen["row"].nunique(),
    )
    return chosen[["subject_id", "path", "row"]].astype({"row": "int64"}).reset_index(drop=True)


def read_files(
    *,
    paths: Sequence[str],
    manifest_rows: Sequence[int],
    read: Callable[[Path], tuple[np.ndarray, Facts]],
    shape: tuple[int, ...],
    array: Path,
    manifest: Path,
    accepted: str,
    threads: int = 1,
) -> list[Facts]:
    """Read files into one float32 array on disk; every file is tried before an error is raised.

    Parameters
    ----------
    paths : sequence of str, length n
        The files, each once, in the order of the array's rows; relative paths start from the working directory.
    manifest_rows : sequence of int, length n
        The row of the manifest that names each file, from 1, for errors: a clinical path often holds an identifier.
    read : callable
        Returns one file's array of the given shape and further facts; raises `UnreadableFileError`.
    shape : tuple of int
        Shape of one file's array.
    array : Path
        The .npy file to write, of shape (n, *shape). The caller deletes it when an error is raised.
    manifest : Path
        Named in errors.
    accepted : str
        What files are accepted, for errors.
    threads : int
        Files read at the same time.

    Returns
    -------
    list
        The facts of each file, in the order of `paths`.

    Raises
    ------
    DataError
        When files are missing or cannot be read.
    """
    rows = np.lib.format.open_memmap(array, mode="w+", dtype=np.float32, shape=(len(paths), *shape))
    facts: list[Facts] = []
    failures: list[tuple[int, str]] = []
    # Threads: the filters and decoders leave Python's lock free, and new processes would first import everything again.
    pool = joblib.Parallel(n_jobs=threads, backend="threading", return_as="generator")
    results = pool(joblib.delayed(_attempt)(read, path) for path in paths)
    for place, result in enumerate(results):
        if isinstance(result, UnreadableFileError):
            failures.append((int(manifest_rows[place]), str(result)))
        else:
            rows[place], fact = result
            facts.append(fact)
        if (place + 1) * 10 // len(paths) > place * 10 // len(paths):
            logger.info("%s: %d of %d files read", manifest.name, place + 1, len(paths))
    if failures:
        row, reason = min(failures)
        raise DataError(
            f"{manifest.name}, column path",
            f"{len(failures)} of {len(paths)} file(s) cannot be used, first that of data row {row}: {reason}",
            f"{accepted} Repair the files or take their rows out of the manifest.",
        )
    rows.flush()
    return facts


def _attempt(read: Callable[[Path], object], path: str) -> object:
    try:
        return read(Path(path))
    except UnreadableFileError as error:
        return error

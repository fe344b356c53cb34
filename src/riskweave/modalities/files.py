"""What recordings and images have in common: which file of a subject counts, and reading many files into one array."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import joblib
import numpy as np
import pandas as pd

from riskweave.cohort.times import TICK
from riskweave.errors import DataError

__all__ = ["UnreadableFileError", "last_files", "read_files"]

logger = logging.getLogger(__name__)

Facts = TypeVar("Facts")


class UnreadableFileError(ValueError):
    """A file cannot be used; the message says why, without anything of its content."""


def _last(index_times: pd.DataFrame, files: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Return the last file that is known at each subject's index time, by subject_id, and how many are at any.

    Never all pairs of index times and files: these are the squares of what a person has.
    """
    # A midnight covers its whole day, unless the index time is that midnight.
    moment = index_times["index_time"].astype("datetime64[us]")
    day = moment.dt.normalize()
    known = {False: moment, True: moment.where(moment == day, day - TICK)}
    files = files.assign(time=files["time"].astype("datetime64[us]")).dropna(subset="time")
    files = files.sort_values(["time", "path"], kind="stable")
    is_date = files["time"] == files["time"].dt.normalize()
    found = [
        pd.merge_asof(
            index_times.assign(known=known[dates]).sort_values("known", kind="stable"),
            files[is_date == dates],
            left_on="known",
            right_on="time",
            by="person_id",
        )
        for dates in (False, True)
    ]
    # An instant and a date are never the same time.
    chosen = pd.concat([one.dropna(subset="time") for one in found]).sort_values(["subject_id", "time"])
    latest = {
        dates: files["person_id"].map(times.groupby(index_times["person_id"]).max()) for dates, times in known.items()
    }
    usable = files["time"] <= latest[True].where(is_date, latest[False])
    return chosen.drop_duplicates("subject_id", keep="last").astype({"row": "int64"}), int(usable.sum())


def last_files(*, subjects: Path, manifest: Path) -> pd.DataFrame:
    """Choose the last file of each subject's person at or before the subject's index time.

    A person with several index times is several subjects, and a file may be the last one of more than one of them.

    A file of the very instant of the index time counts. A file dated at midnight is dated to the day only and may be of
    any hour of it: on the day of an index time with an hour it does not count. Of several files of one instant the last
    path in alphabetical order is taken.

    Parameters
    ----------
    subjects : Path
        Table of subjects (subject_id, person_id, index_time).
    manifest : Path
        Table of recordings or images (subject_id: the person, time, path).

    Returns
    -------
    pandas.DataFrame
        Columns subject_id, path and row (of the manifest, from 1), one row per subject that has a file, sorted by
        subject_id.

    Raises
    ------
    DataError
        When no subject has a file at or before the index time.
    """
    index_times = pd.read_parquet(subjects, columns=["subject_id", "person_id", "index_time"])
    listed = pd.read_parquet(manifest, columns=["subject_id", "time", "path"])
    listed = listed.rename(columns={"subject_id": "person_id"})
    listed["row"] = np.arange(1, len(listed) + 1)
    files = listed[listed["person_id"].isin(index_times["person_id"])]
    chosen, usable = _last(index_times, files)
    if chosen.empty:
        problem = f"none of its {len(files)} file(s) of the study's subjects is dated at or before the index time"
        raise DataError(
            f"{manifest.name}, column time",
            problem if len(files) else "it has no file of any subject of the study",
            "Features come from files at or before the index time: check the dates and the subject_id column of the "
            "manifest, or remove the feature set from the study.",
        )
    logger.info(
        "%s: %d of %d subjects have a file at or before the index time; left out: %d later or undated file(s), "
        "%d earlier file(s) of the same subjects",
        manifest.name,
        len(chosen),
        len(index_times),
        len(files) - usable,
        usable - chosen["row"].nunique(),
    )
    return chosen[["subject_id", "path", "row"]].reset_index(drop=True)


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

    A file that serves several subjects is read once.

    Parameters
    ----------
    paths : sequence of str, length n
        The files, in the order of the array's rows; relative paths start from the working directory.
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
    places: dict[str, list[int]] = {}
    for place, path in enumerate(paths):
        places.setdefault(path, []).append(place)
    facts: list[Facts | None] = [None] * len(paths)
    failures: list[tuple[int, str]] = []
    # Threads: the filters and decoders leave Python's lock free, and new processes would first import everything again.
    pool = joblib.Parallel(n_jobs=threads, backend="threading", return_as="generator")
    results = pool(joblib.delayed(_attempt)(read, path) for path in places)
    for done, (own, result) in enumerate(zip(places.values(), results, strict=True), start=1):
        if isinstance(result, UnreadableFileError):
            failures.append((min(int(manifest_rows[place]) for place in own), str(result)))
        else:
            for place in own:
                rows[place], facts[place] = result
        if done * 10 // len(places) > (done - 1) * 10 // len(places):
            logger.info("%s: %d of %d files read", manifest.name, done, len(places))
    if failures:
        row, reason = min(failures)
        raise DataError(
            f"{manifest.name}, column path",
            f"{len(failures)} of {len(places)} file(s) cannot be used, first that of data row {row}: {reason}",
            f"{accepted} Repair the files or take their rows out of the manifest.",
        )
    rows.flush()
    return facts


def _attempt(read: Callable[[Path], object], path: str) -> object:
    try:
        return read(Path(path))
    except UnreadableFileError as error:
        return error

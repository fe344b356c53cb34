"""Modalities of files: each recording is decoded once, into a row of one array and, where wanted, measurements."""

import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from riskweave.files import replacing
from riskweave.modalities.base import Column, write_features
from riskweave.modalities.contract import Modality
from riskweave.modalities.files import latest_files, read_files
from riskweave.modalities.stored import write_index
from riskweave.study.features import RecordedFeatures

__all__ = ["Recorded"]

logger = logging.getLogger(__name__)

Facts = dict[str, Any]


@dataclass(frozen=True)
class Recorded:
    """A modality whose raw data are files, one recording in each.

    Attributes
    ----------
    name : str
        Name of the modality.
    read : callable
        ``read(path, features=)`` decodes a file: float32 array of the shape, and its facts by name, the measurements
        among them where the block asks for them; UnreadableFileError when it cannot be used.
    shape : callable
        From the block to the shape of one recording's array.
    columns : tuple of Column
        The measurements that become columns with `measurements`.
    kept : tuple of str
        Facts that the index keeps, such as the quality of the recording.
    accepted : str
        Which files are accepted, for errors.
    local_columns : tuple of Column
        Those of the recording's parts, with `local_measurements`, for modalities that have them.
    check : callable, optional
        ``check(facts, manifest)``: looks at the facts of all recordings (a DataFrame) and logs or raises.
    """

    name: str
    read: Callable[..., tuple[np.ndarray, Facts]]
    shape: Callable[[Any], tuple[int, ...]]
    columns: tuple[Column, ...]
    kept: tuple[str, ...]
    accepted: str
    local_columns: tuple[Column, ...] = ()
    check: Callable[[pd.DataFrame, Path], None] | None = None

    def modality(self) -> Modality:
        """Return what the registry finds."""
        return Modality(name=self.name, read=self.read_all, columns=self.measured, one=self.read_one)

    def measured(self, features: RecordedFeatures) -> list[Column]:
        """Return the columns of the feature table."""
        columns = list(self.columns) if features.measurements else []
        return columns + (list(self.local_columns) if getattr(features, "local_measurements", False) else [])

    def read_all(
        self,
        *,
        subjects: Path,
        raw: Path,
        features: RecordedFeatures,
        table: Path,
        inputs: Path,
        index: Path,
        threads: int = 1,
    ) -> None:
        """Make the feature table and the inputs of a feature set from the latest recordings of each subject.

        A file that serves several subjects is decoded and kept once.

        Parameters
        ----------
        subjects : Path
            Table of subjects (subject_id, person_id, index_time).
        raw : Path
            Manifest of the recordings (subject_id: the person, time, path); relative paths start from the working
            directory.
        features : RecordedFeatures
            The block of the study file; its encoder is not looked at.
        table : Path
            Feature table to write: measurements of each subject's latest recording, or subject_id alone.
        inputs : Path
            .npy file to write: float32, a row for each file.
        index : Path
            Parquet file to write: subject_id, row of `inputs`, and what was found in the file.
        threads : int
            Files read at the same time.

        Raises
        ------
        DataError
            When no subject has a recording at or before the index time, or recordings cannot be read. Nothing is
            written then.
        """
        chosen = latest_files(subjects=subjects, manifest=raw, most=features.most, window=features.window)
        files = chosen.drop_duplicates("path").reset_index(drop=True)
        with replacing(table, inputs, index) as (table_partial, inputs_partial, index_partial):
            facts = read_files(
                paths=files["path"].tolist(),
                manifest_rows=files["row"].tolist(),
                read=functools.partial(self.read, features=features),
                shape=self.shape(features),
                array=inputs_partial,
                manifest=raw,
                accepted=self.accepted,
                threads=threads,
            )
            found = pd.DataFrame(facts)
            if self.check is not None:
                self.check(found, raw)
            rows = pd.DataFrame({"subject_id": chosen["subject_id"], "row": files.index[_places(chosen, files)]})
            rows = pd.concat([rows, found.iloc[rows["row"]].reset_index(drop=True)], axis=1)
            columns = self.measured(features)
            latest = rows.drop_duplicates("subject_id", keep="last")
            write_features(latest[["subject_id", *(column.name for column in columns)]], table_partial, columns)
            kept = rows[["subject_id", "row", *self.kept]]
            write_index(kept, index_partial, inputs=inputs_partial, modality=self.name, most=features.most)
        logger.info("%s: %d recordings of %d subjects read", self.name, len(files), len(latest))

    def read_one(self, paths: Sequence[Path], features: RecordedFeatures) -> tuple[dict[str, float], np.ndarray]:
        """Read one patient's recordings, in time order, as `read_all` does.

        Returns
        -------
        measurements : dict of str to float
            Of the latest recording.
        array : ndarray of float32, shape (recordings, ...)

        Raises
        ------
        UnreadableFileError
            When there is no file, or one cannot be used.
        """
        read = [self.read(Path(path), features=features) for path in list(paths)[-features.most :]]
        if not read:
            raise ValueError(f"{self.name}: there is no recording")
        facts = read[-1][1]
        measurements = {column.name: float(facts[column.name]) for column in self.measured(features)}
        return measurements, np.stack([array for array, _ in read]).astype(np.float32)


def _places(chosen: pd.DataFrame, files: pd.DataFrame) -> np.ndarray:
    return pd.Index(files["path"]).get_indexer(chosen["path"])

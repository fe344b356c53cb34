"""The prediction table: what every experiment hands to the evaluation."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from riskweave.errors import DataError
from riskweave.files import replacing

__all__ = ["prediction_frame", "read_predictions", "risk_columns", "write_predictions"]

TOLERANCE = 1e-6
"""Networks predict in single precision: sums and differences of risks may be off by this much."""

_RISK = re.compile(r"risk_(?:c(?P<cause>[1-9]\d*)_)?(?P<day>[1-9]\d*)")
_FIXED = {
    "subject_id": (pa.string(), "identifier of the subject"),
    "experiment": (pa.string(), "name of the experiment"),
    "endpoint": (pa.string(), "name of the endpoint"),
    "fold": (pa.int16(), "fold in whose test rows the subject is"),
    "modalities": (
        pa.string(),
        "modalities that the prediction rests on, joined by + in the order of the feature sets; empty: none",
    ),
    "linear_predictor": (pa.float64(), "log hazard ratio of the target; null for models that have none"),
}
_REMEDY = "Run the experiment again; a prediction table is written by riskweave.survival.experiment"


def risk_columns(frame: pd.DataFrame) -> dict[int, dict[int, str]]:
    """Return the risk columns of a prediction table: ``{cause: {day: column}}``, days increasing.

    ``risk_<day>`` is the target (cause 1), ``risk_c<cause>_<day>`` a competing cause (2 and up).
    """
    found: dict[int, dict[int, str]] = {}
    for column in frame.columns:
        match = _RISK.fullmatch(column)
        if match:
            found.setdefault(int(match["cause"] or 1), {})[int(match["day"])] = column
    return {cause: dict(sorted(days.items())) for cause, days in sorted(found.items())}


def prediction_frame(
    *,
    subjects: pd.Index,
    experiment: str,
    endpoint: str,
    fold: int,
    modalities: Sequence[str],
    linear_predictor: np.ndarray | None,
    risks: np.ndarray,
    times: list[int],
) -> pd.DataFrame:
    """Lay out the predictions of one fold's test rows.

    Parameters
    ----------
    subjects : Index of shape (n,)
        subject_id of the rows.
    experiment, endpoint : str
    fold : int
    modalities : sequence of str, of length n
        What each prediction rests on, such as ``ehr+ecg``; empty: none.
    linear_predictor : ndarray of shape (n,) or None
        Log hazard ratio of the target.
    risks : ndarray of shape (n, causes, times)
        Cumulative incidences in [0, 1].
    times : list of int
        Days after the index time, increasing.

    Returns
    -------
    DataFrame of shape (n, 6 + causes * times)
    """
    columns = {
        "subject_id": subjects.to_numpy(dtype=object),
        "experiment": experiment,
        "endpoint": endpoint,
        "fold": np.int16(fold),
        "modalities": np.asarray(modalities, dtype=object),
        "linear_predictor": np.nan if linear_predictor is None else np.asarray(linear_predictor, dtype=np.float64),
    }
    for cause in range(1, risks.shape[1] + 1):
        stem = "risk" if cause == 1 else f"risk_c{cause}"
        columns |= {f"{stem}_{day}": risks[:, cause - 1, i].astype(np.float64) for i, day in enumerate(times)}
    return pd.DataFrame(columns, index=range(len(subjects)))


def _validate(frame: pd.DataFrame, where: str) -> None:
    missing = [column for column in _FIXED if column not in frame.columns]
    risks = risk_columns(frame)
    if missing or 1 not in risks:
        lacks = ", ".join(missing + ([] if 1 in risks else ["risk_<day>"]))
        raise DataError(where, f"the columns {lacks} are missing", _REMEDY)
    unknown = set(frame.columns) - set(_FIXED) - {name for days in risks.values() for name in days.values()}
    if unknown:
        raise DataError(where, f"the columns {', '.join(sorted(unknown))} are unknown", _REMEDY)
    if frame["modalities"].isna().any():
        raise DataError(f"{where}, column modalities", f"{frame['modalities'].isna().sum()} rows are empty", _REMEDY)
    twice = int(frame["subject_id"].duplicated().sum())
    if twice or frame["subject_id"].isna().any():
        raise DataError(f"{where}, column subject_id", f"{twice} rows repeat a subject, or some are empty", _REMEDY)
    days = list(risks[1])
    for cause, columns in risks.items():
        if list(columns) != days:
            raise DataError(where, f"cause {cause} has other days than the target", _REMEDY)
        values = frame[list(columns.values())].to_numpy(dtype=float)
        outside = int((~((values >= 0) & (values <= 1))).any(axis=1).sum())
        if outside:
            raise DataError(where, f"{outside} subjects have risks of cause {cause} outside [0, 1]", _REMEDY)
        falling = int((np.diff(values, axis=1) < -TOLERANCE).any(axis=1).sum())
        if falling:
            raise DataError(where, f"{falling} subjects have risks of cause {cause} that fall in time", _REMEDY)
    total = sum(frame[list(columns.values())].to_numpy(dtype=float) for columns in risks.values())
    above = int((total > 1 + TOLERANCE).any(axis=1).sum())
    if above:
        raise DataError(where, f"{above} subjects have risks that sum to more than 1 over the causes", _REMEDY)


def write_predictions(frame: pd.DataFrame, path: str | Path) -> None:
    """Check a prediction table and write it, sorted by subject.

    Parameters
    ----------
    frame : DataFrame
        Columns subject_id, experiment, endpoint, fold, modalities (such as ``ehr+ecg``, empty where a subject has none
        that the model uses), linear_predictor (null where the model has none),
        ``risk_<day>`` (cumulative incidence of the target, in [0, 1]) and, with competing causes,
        ``risk_c<cause>_<day>``. One row per subject.
    path : path
        Parquet file; replaced only by a whole table.

    Raises
    ------
    DataError
        When a subject appears twice, a risk is outside [0, 1], falls in time, or risks of all causes sum to more
        than 1.
    """
    path = Path(path)
    _validate(frame, path.name)
    frame = frame.sort_values("subject_id", ignore_index=True)
    fields = [pa.field(name, kind, metadata={"description": text}) for name, (kind, text) in _FIXED.items()]
    for cause, columns in risk_columns(frame).items():
        what = "the target" if cause == 1 else f"competing cause {cause}"
        fields += [
            pa.field(
                name,
                pa.float64(),
                nullable=False,
                metadata={"description": f"cumulative incidence of {what} at day {day}", "unit": "probability"},
            )
            for day, name in columns.items()
        ]
    table = pa.Table.from_pandas(frame, schema=pa.schema(fields), preserve_index=False)
    with replacing(path) as (partial,):
        pq.write_table(table.replace_schema_metadata(None), partial)


def read_predictions(path: str | Path) -> pd.DataFrame:
    """Read and check a prediction table.

    Returns
    -------
    DataFrame of shape (subjects, 6 + causes * times)
        As `write_predictions` describes it.

    Raises
    ------
    DataError
        When the file is no valid prediction table.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(str(path), "there is no such prediction table", _REMEDY)
    frame = pq.read_table(path).to_pandas()
    _validate(frame, str(path))
    return frame

"""Parquet files as data frames, read in a way that ends with the process."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

__all__ = ["read_frame"]


def read_frame(
    path: Path | str, columns: Sequence[str] | None = None, *, filters: Sequence[tuple] | None = None
) -> pd.DataFrame:
    """Read a Parquet file as `pandas.read_parquet` does, but give Arrow the path instead of an open Python file.

    A thread of Arrow's that lets go of a Python file while the interpreter ends aborts or hangs the process now and
    then, after the work is done (apache/arrow issues 34314 and 50482): a job in thousands fails for no reason.

    Parameters
    ----------
    path : Path or str
    columns : sequence of str, optional
        Columns to read; all when not given.
    filters : sequence of (column, operator, value), optional
        Rows to read: those for which all are true.

    Returns
    -------
    DataFrame
    """
    import pyarrow.parquet as pq

    # Folders on the way to the file are no partitions, whatever their names.
    return pq.read_table(Path(path), columns=columns, filters=filters, partitioning=None).to_pandas()

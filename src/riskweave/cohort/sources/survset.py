"""The cohorts that the PyPI package SurvSet ships (GPL-3, optional): 77 tables with pid, event and time.

Drysdale E. SurvSet: an open-source time-to-event dataset repository. arXiv:2203.03094, 2022.

SurvSet stores pickles. Its own loader runs whatever they name, and warns with NumPy 2; here they are read with nothing
allowed but the parts of tables.
"""

import pickle
from importlib.resources import files

import pandas as pd

from riskweave.errors import DataError, nearest

__all__ = ["from_survset"]

_PARTS = {
    "builtins": {"slice"},
    "numpy": {"_frombuffer", "_reconstruct", "dtype", "ndarray"},
    "pandas": {
        "BlockManager", "BooleanArray", "BooleanDtype", "Categorical", "CategoricalDtype", "DataFrame", "Index",
        "Int32Dtype", "IntegerArray", "RangeIndex", "StringArray", "StringDtype", "__pyx_unpickle_NDArrayBacked",
        "_new_Index", "_unpickle_block",
    },
}  # fmt: skip


class _Tables(pickle.Unpickler):
    """Reads pickled tables and nothing else."""

    def find_class(self, module: str, name: str) -> object:
        root = module.partition(".")[0]
        if name not in _PARTS.get(root, ()):
            raise pickle.UnpicklingError(f"{module}.{name} is no part of a table")
        # NumPy 2 renamed its private modules.
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def from_survset(name: str, where: str) -> pd.DataFrame:
    """Return a table of SurvSet as it is shipped.

    Parameters
    ----------
    name : str
        Its name; case does not count.
    where : str
        What error messages call it.

    Raises
    ------
    DataError
        When SurvSet ships no such table, or one whose values change over time.
    """
    folder = files("SurvSet") / "resources" / "pickles"
    shipped = sorted(entry.name.removesuffix(".pickle") for entry in folder.iterdir() if entry.name.endswith(".pickle"))
    spelt = {known.lower(): known for known in shipped}
    if name.lower() not in spelt:
        near = nearest(name.lower(), spelt)
        problem = f"the package ships no cohort {name!r}, one of {len(shipped)}"
        raise DataError(where, problem, f"Correct cohort.name.{near} Allowed: {', '.join(shipped)}")
    with (folder / f"{spelt[name.lower()]}.pickle").open("rb") as file:
        frame = _Tables(file).load()
    if "time2" in frame.columns:
        problem = f"has values that change over time: {len(frame)} rows of {frame['pid'].nunique()} subjects"
        raise DataError(where, problem, "Give a cohort with one row per subject")
    return frame

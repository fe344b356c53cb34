"""Fitted models as JSON and arrays: each part told by what it is and what it holds."""

import json
import math
from collections import OrderedDict
from collections.abc import Callable, Iterable
from types import FunctionType
from typing import Any

import numpy as np
import pandas as pd

from riskweave.survival.stored_types import RefusedError, class_of, named

__all__ = ["Writer"]

SCALARS = (bool, int, str, type(None))
"""What JSON holds as it is."""


class Writer:
    """Turns parts of models into what JSON can hold, and collects their arrays.

    A part is a number, text or truth value, a list of parts, or an object of one key or more, the first of which says
    what it is. `riskweave.survival.stored_reader` reads them. The same content gives the same parts: nothing tells
    where it stood in the memory, and which parts were one and the same is told of the parameters of networks alone,
    some of which their layers hold twice.

    Attributes
    ----------
    arrays : dict of str to array
        By the number under which a part names them; in C order, of numbers or truth values.
    """

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self._parameters: dict[int, tuple[Any, str]] = {}
        self._inside: list[tuple[int, str]] = []

    def part(self, value: Any) -> Any:
        """Return the description of a value.

        Raises
        ------
        TypeError
            When it holds what no stored model may be made of, or itself.
        """
        kind = type(value)
        if kind in SCALARS:
            return value
        if kind is float:
            return value if math.isfinite(value) else {"float": repr(value)}
        if isinstance(value, np.generic):
            return {"number": self.part(value.item()), "of": self._number(value.dtype)}
        if isinstance(value, np.dtype):
            return {"dtype": "object" if value.kind == "O" else self._number(value)}
        if isinstance(value, (type, FunctionType)):
            return {"named": self._known(f"{value.__module__}.{value.__qualname__}", named)}
        name = f"{kind.__module__}.{kind.__qualname__}"
        self._enter(value, name)
        try:
            return WRITERS.get(name, Writer._object)(self, value)
        finally:
            self._inside.pop()

    def _enter(self, value: Any, name: str) -> None:
        if any(number == id(value) for number, _ in self._inside):
            raise TypeError(f"a stored model cannot hold a {name} that holds itself")
        self._inside.append((id(value), name))

    def _known(self, name: str, find: Callable[[str], Any]) -> str:
        try:
            find(name)
        except RefusedError:
            raise self._unknown(name) from None
        return name

    def _unknown(self, name: str) -> TypeError:
        names = dict.fromkeys(each for _, each in reversed(self._inside) if not each.startswith("builtins."))
        where = " in ".join(each for each in names if each != name)
        return TypeError(f"a stored model cannot hold {name} ({where}): see riskweave.survival.stored_types")

    def _parts(self, values: Iterable[Any]) -> list[Any]:
        return [self.part(value) for value in values]

    def _pairs(self, values: dict) -> list[list[Any]]:
        return [[self.part(key), self.part(value)] for key, value in values.items()]

    def _list(self, value: list) -> list:
        return self._parts(value)

    def _tuple(self, value: tuple) -> dict:
        return {"tuple": self._parts(value)}

    def _dict(self, value: dict) -> dict:
        return {"dict": self._pairs(value)}

    def _ordered(self, value: OrderedDict) -> dict:
        return {"ordered": self._pairs(value)}

    def _set(self, value: set) -> dict:
        # Their order hangs on the hashes of texts, which differ from process to process.
        return {"set": sorted(self._parts(value), key=json.dumps)}

    def _slice(self, value: slice) -> dict:
        return {"slice": self._parts((value.start, value.stop, value.step))}

    def _array(self, value: np.ndarray) -> dict:
        if value.dtype.kind == "O":
            return {"objects": self._parts(value.ravel()), "shape": list(value.shape)}
        if value.dtype.names is not None:
            # Field by field: what lies between them is whatever the memory held.
            fields = [
                [name, value.dtype.fields[name][1], self._array(np.ascontiguousarray(value[name]))]
                for name in value.dtype.names
            ]
            return {"records": fields, "size": value.dtype.itemsize}
        self._number(value.dtype)
        number = str(len(self.arrays))
        turned = value.flags.f_contiguous and not value.flags.c_contiguous
        self.arrays[number] = np.asarray(value.T if turned else value, order="C")
        # How it lies decides the order in which libraries add, and so the last bits of what a model predicts.
        return {"turned" if turned else "array": number}

    def _number(self, kind: np.dtype) -> str:
        if kind.kind not in "biuf" or kind.itemsize > 8:
            raise self._unknown(f"numbers of type {kind}")
        return kind.name

    def _tensor(self, value: Any) -> dict:
        return {"tensor": self._values(value), **self._strides(value)}

    def _parameter(self, value: Any) -> dict:
        if id(value) not in self._parameters:
            # The parameter is kept, so that no other one takes its place in the memory meanwhile.
            self._parameters[id(value)] = value, self._values(value)
        number = self._parameters[id(value)][1]
        return {"parameter": number, **self._strides(value), "trained": value.requires_grad}

    def _values(self, value: Any) -> str:
        return self._array(value.detach().cpu().contiguous().numpy())["array"]

    @staticmethod
    def _strides(value: Any) -> dict:
        """Return how a tensor lies, where that is another order of its axes (``channels_last``)."""
        import torch

        own, usual = value.stride(), torch.empty(value.shape, device="meta").stride()
        dense = value.permute(sorted(range(value.ndim), key=own.__getitem__, reverse=True)).is_contiguous()
        return {"strides": list(own)} if dense and own != usual else {}

    def _index(self, value: pd.Index) -> dict:
        return {"index": self._column(value), "name": self.part(value.name)}

    def _range(self, value: pd.RangeIndex) -> dict:
        return {"range": [value.start, value.stop, value.step], "name": self.part(value.name)}

    def _series(self, value: pd.Series) -> dict:
        return {"series": self._column(value), "index": self.part(value.index), "name": self.part(value.name)}

    def _frame(self, value: pd.DataFrame) -> dict:
        columns = [self._column(value.iloc[:, place]) for place in range(value.shape[1])]
        return {"frame": columns, "columns": self.part(value.columns), "index": self.part(value.index)}

    def _column(self, value: pd.Series | pd.Index) -> dict:
        if not isinstance(value.dtype, np.dtype):
            raise self._unknown(f"columns of type {value.dtype}")
        return self._array(np.ascontiguousarray(value.to_numpy()))

    def _tree(self, value: Any) -> dict:
        classes = self._array(np.asarray(value.n_classes))
        state = self._pairs(value.__getstate__())
        return {"tree": state, "features": value.n_features, "classes": classes, "outputs": value.n_outputs}

    def _object(self, value: Any) -> dict:
        name = self._known(self._inside[-1][1], class_of)
        state = value.__getstate__()
        if state is None:
            return {"object": name}
        if type(state) is not dict:
            raise self._unknown(f"a state of {type(state).__name__}")
        return {"object": name, "state": self._pairs(state)}


WRITERS: dict[str, Callable[[Writer, Any], Any]] = {
    "builtins.dict": Writer._dict,
    "builtins.list": Writer._list,
    "builtins.set": Writer._set,
    "builtins.slice": Writer._slice,
    "builtins.tuple": Writer._tuple,
    "collections.OrderedDict": Writer._ordered,
    "numpy.ndarray": Writer._array,
    "pandas.core.frame.DataFrame": Writer._frame,
    "pandas.core.indexes.base.Index": Writer._index,
    "pandas.core.indexes.range.RangeIndex": Writer._range,
    "pandas.core.series.Series": Writer._series,
    "sklearn.tree._tree.Tree": Writer._tree,
    "torch.Tensor": Writer._tensor,
    "torch.nn.parameter.Parameter": Writer._parameter,
}
"""By names: a process that stores no network needs no torch."""

"""Fitted models from JSON and arrays: parts are put together, and nothing that the file says is called.

Objects of known classes (`riskweave.survival.stored_types`) are made without their constructor and given what they
held; trees of scikit-learn are made by theirs, from numbers that are checked. The names are looked up, and refused,
while the JSON is read: before any part is made.
"""

import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from riskweave.survival.stored_types import class_of, named, state_keys

__all__ = ["read_parts"]

FLOATS = {"inf": np.inf, "-inf": -np.inf, "nan": np.nan}
NUMBERS = frozenset({
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64",
})  # fmt: skip
NEXT = (("left_child", "right_child"), ("left", "right"))
"""Fields of a tree's nodes that say where the next nodes are: of scikit-learn's trees, and of its histogram trees."""


def read_parts(text: bytes, arrays: Mapping[str, np.ndarray]) -> Any:
    """Return what `riskweave.survival.stored_writer.Writer` has described.

    Parameters
    ----------
    text : bytes
        JSON.
    arrays : mapping of str to array
        By their numbers.

    Raises
    ------
    RefusedError
        When it names what no model is made of.
    Exception
        Many kinds, where it is damaged or not made by the writer.
    """
    return _Reader(arrays).made(json.loads(text, object_pairs_hook=_checked))


def _checked(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a part whose kind, class or function is known."""
    part = dict(pairs)
    kind = pairs[0][0]
    if kind not in READERS or len(part) != len(pairs):
        raise ValueError(f"{kind} is no kind of part")
    if kind == "object":
        found = class_of(part["object"])
        state_keys(found, [name for name, _ in part.get("state", [])])
    if kind == "named":
        named(part["named"])
    return part


class _Reader:
    """Makes parts."""

    def __init__(self, arrays: Mapping[str, np.ndarray]):
        self._arrays = arrays
        self._parameters: dict[str, Any] = {}

    def made(self, part: Any) -> Any:
        """Return what a part describes."""
        if type(part) is list:
            return [self.made(each) for each in part]
        if type(part) is dict:
            return READERS[next(iter(part))](self, part)
        return part

    def _float(self, part: dict) -> float:
        return FLOATS[part["float"]]

    def _number(self, part: dict) -> np.generic:
        return _number_type(part["of"]).type(self.made(part["number"]))

    def _dtype(self, part: dict) -> np.dtype:
        return np.dtype(object) if part["dtype"] == "object" else _number_type(part["dtype"])

    def _named(self, part: dict) -> Any:
        return named(part["named"])

    def _tuple(self, part: dict) -> tuple:
        return tuple(self.made(part["tuple"]))

    def _dict(self, part: dict) -> dict:
        return {self.made(key): self.made(value) for key, value in part["dict"]}

    def _ordered(self, part: dict) -> OrderedDict:
        return OrderedDict((self.made(key), self.made(value)) for key, value in part["ordered"])

    def _set(self, part: dict) -> set:
        return set(self.made(part["set"]))

    def _slice(self, part: dict) -> slice:
        return slice(*self.made(part["slice"]))

    def _array(self, part: dict) -> np.ndarray:
        # A copy of its own: arrays of the file may lie anywhere.
        return self._arrays[part["array"]].copy()

    def _turned(self, part: dict) -> np.ndarray:
        return self._arrays[part["turned"]].copy().T

    def _records(self, part: dict) -> np.ndarray:
        fields = {name: (offset, self.made(values)) for name, offset, values in part["records"]}
        layout = {
            "names": list(fields),
            "offsets": [offset for offset, _ in fields.values()],
            "formats": [values.dtype for _, values in fields.values()],
            "itemsize": part["size"],
        }
        (shape,) = {values.shape for _, values in fields.values()}
        found = np.zeros(shape, dtype=np.dtype(layout))
        for name, (_, values) in fields.items():
            found[name] = values
        return found

    def _objects(self, part: dict) -> np.ndarray:
        values = self.made(part["objects"])
        found = np.empty(len(values), dtype=object)
        for place, value in enumerate(values):
            found[place] = value
        return found.reshape(part["shape"])

    def _tensor(self, part: dict) -> Any:
        return self._lying(part["tensor"], part)

    def _parameter(self, part: dict) -> Any:
        """Return the one parameter of a number: layers hold some of theirs twice."""
        import torch

        number = part["parameter"]
        if number not in self._parameters:
            found = self._lying(number, part)
            self._parameters[number] = torch.nn.Parameter(found, requires_grad=part["trained"])
        return self._parameters[number]

    def _lying(self, number: str, part: dict) -> Any:
        """Return a tensor of these values that lies as the stored one did."""
        import torch

        found = torch.from_numpy(self._arrays[number].copy())
        if "strides" not in part:
            return found
        return torch.empty_strided(found.shape, part["strides"], dtype=found.dtype).copy_(found)

    def _index(self, part: dict) -> pd.Index:
        values = self.made(part["index"])
        return pd.Index(values, dtype=values.dtype, name=self.made(part["name"]))

    def _range(self, part: dict) -> pd.RangeIndex:
        return pd.RangeIndex(*part["range"], name=self.made(part["name"]))

    def _series(self, part: dict) -> pd.Series:
        values = self.made(part["series"])
        return pd.Series(values, index=self.made(part["index"]), dtype=values.dtype, name=self.made(part["name"]))

    def _frame(self, part: dict) -> pd.DataFrame:
        found = pd.DataFrame(dict(enumerate(self.made(part["frame"]))), index=self.made(part["index"]))
        found.columns = self.made(part["columns"])
        return found

    def _tree(self, part: dict) -> Any:
        from sklearn.tree._tree import Tree

        state = {name: self.made(value) for name, value in part["tree"]}
        nodes = state["nodes"]
        _check_nodes(nodes)
        columns, classes = nodes["feature"][nodes["left_child"] >= 0], self.made(part["classes"])
        own = state["node_count"] == len(nodes) and ((columns >= 0) & (columns < part["features"])).all()
        if not own or classes.shape != (part["outputs"],) or not (classes > 0).all():
            raise ValueError("a tree whose nodes are not its own")
        found = Tree(part["features"], classes, part["outputs"])
        found.__setstate__(state)
        return found

    def _object(self, part: dict) -> Any:
        kind = class_of(part["object"])
        made = kind.__new__(kind)
        if "state" not in part:
            return made
        state = {name: self.made(value) for name, value in part["state"]}
        if isinstance(state.get("nodes"), np.ndarray):
            _check_nodes(state["nodes"])
        setter = getattr(kind, "__setstate__", None)
        if setter is None:
            made.__dict__.update(state)
        else:
            setter(made, state)
        return made


def _number_type(name: str) -> np.dtype:
    if name not in NUMBERS:
        raise ValueError(f"{name} is no type of numbers")
    return np.dtype(name)


def _check_nodes(nodes: np.ndarray) -> None:
    """Check that each node leads on to later ones of its tree: compiled code follows them without looking."""
    left, right = next(fields for fields in NEXT if fields[0] in nodes.dtype.names)
    leaf = nodes["is_leaf"] == 1 if "is_leaf" in nodes.dtype.names else nodes[left] == -1
    place = np.arange(len(nodes))
    for side in (left, right):
        following = nodes[side].astype(np.int64)
        if not (leaf | ((following > place) & (following < len(nodes)))).all():
            raise ValueError("a tree whose nodes lead out of it")


READERS: dict[str, Callable[[_Reader, dict], Any]] = {
    "array": _Reader._array,
    "dict": _Reader._dict,
    "dtype": _Reader._dtype,
    "float": _Reader._float,
    "frame": _Reader._frame,
    "index": _Reader._index,
    "named": _Reader._named,
    "number": _Reader._number,
    "object": _Reader._object,
    "objects": _Reader._objects,
    "ordered": _Reader._ordered,
    "parameter": _Reader._parameter,
    "range": _Reader._range,
    "records": _Reader._records,
    "series": _Reader._series,
    "set": _Reader._set,
    "slice": _Reader._slice,
    "tensor": _Reader._tensor,
    "tree": _Reader._tree,
    "tuple": _Reader._tuple,
    "turned": _Reader._turned,
}
"""What each kind of part becomes."""

"""Reading the pickles of fitted models without running what they say.

A pickle is a program: it names classes and functions, calls them and sets what they hold. Here it may name the modules
that fitted models come from, call the few functions that put arrays, tables and trees together, with the arguments that
they have there, and fill lists, dictionaries, sets and objects. All else is refused before it happens.
"""

import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from joblib.numpy_pickle import NumpyArrayWrapper, NumpyUnpickler

__all__ = ["Refused", "Unpickler"]

MODULES = (
    "numpy.random._mt19937", "numpy.random._pcg64", "numpy.random.bit_generator", "pandas.core.arrays",
    "pandas.core.dtypes.dtypes", "pandas.core.frame", "pandas.core.indexes", "pandas.core.series", "pycox.models.loss",
    "riskweave.fusion", "riskweave.modalities", "riskweave.networks", "riskweave.study", "riskweave.survival",
    "sklearn._loss", "sklearn.compose", "sklearn.ensemble", "sklearn.impute", "sklearn.pipeline",
    "sklearn.preprocessing", "sklearn.tree", "sksurv.ensemble", "sksurv.functions", "sksurv.tree", "torch.nn.modules",
)  # fmt: skip
"""Modules whose classes are parts of models: made without their constructor, and given what they held."""

PLAIN = (bool, bytes, complex, dict, float, int, list, str, tuple, type(None))


def _plain(*arguments: Any) -> bool:
    """Tell whether all are of Python's own types: nothing of a library then runs to read them."""
    return all(type(each) in PLAIN for each in arguments)


def _parts(*arguments: Any) -> bool:
    """Tell whether none is a class or a function."""
    return not any(isinstance(each, type) or callable(each) for each in arguments)


def _of(kind: type) -> Callable[..., bool]:
    """Return a check: a subclass of `kind` first, then what is no class."""
    return lambda *given: isinstance(given[0], type) and issubclass(given[0], kind) and _parts(*given[1:])


def _generator(*arguments: Any) -> bool:
    """Tell whether a source of random bits is given and no function that makes one."""
    return len(arguments) == 1 and isinstance(arguments[0], np.random.BitGenerator)


CALLED: Mapping[tuple[str, str], Callable[..., bool]] = {
    ("builtins", "bytearray"): _plain,
    ("builtins", "complex"): _plain,
    ("builtins", "frozenset"): _plain,
    ("builtins", "range"): _plain,
    ("builtins", "set"): _plain,
    ("builtins", "slice"): _plain,
    ("collections", "OrderedDict"): _plain,
    ("numpy", "dtype"): _plain,
    ("numpy._core.multiarray", "_reconstruct"): lambda kind, *rest: kind is np.ndarray and _plain(*rest),
    ("numpy._core.multiarray", "scalar"): lambda kind, *rest: isinstance(kind, np.dtype) and _parts(*rest),
    ("numpy.random._pickle", "__bit_generator_ctor"): _of(np.random.BitGenerator),
    ("numpy.random._pickle", "__generator_ctor"): _generator,
    ("numpy.random._pickle", "__randomstate_ctor"): _generator,
    ("pandas._libs.internals", "_unpickle_block"): _parts,
    ("pandas.core.indexes.base", "_new_Index"): _of(pd.Index),
    ("pandas.core.internals.managers", "BlockManager"): _parts,
    ("pandas.core.internals.managers", "SingleBlockManager"): _parts,
    ("riskweave.survival.stored_models", "_parameter"): _parts,
    ("riskweave.survival.stored_models", "_tensor"): _parts,
    ("sklearn.tree._tree", "Tree"): _parts,
}
"""What may be called, and with which arguments."""

NAMED = frozenset({
    ("joblib.numpy_pickle", "NumpyArrayWrapper"),
    ("numpy", "bool"), ("numpy", "float32"), ("numpy", "float64"), ("numpy", "int32"), ("numpy", "int64"),
    ("numpy", "ndarray"),
    ("riskweave.survival.preprocessing", "_category_name"),
})  # fmt: skip
"""What models hold or are made of beside these, and what is never called."""


class Refused(pickle.UnpicklingError):
    """The file names or does something that no model needs."""


class Unpickler(NumpyUnpickler):
    """Reads what joblib writes, with the arrays of Python objects, which joblib itself hands to the plain unpickler."""

    dispatch: ClassVar[dict[int, Callable]] = NumpyUnpickler.dispatch.copy()

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self._callable: dict[int, tuple[Any, Callable[..., bool]]] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Return what the file names, or refuse it."""
        place = module, name
        if place not in NAMED and place not in CALLED and ("." in name or not _in_modules(module)):
            raise Refused(f"{module}.{name}")
        found = super().find_class(module, name)
        # Cython's functions that make an object of a class again.
        allowed = _of(object) if name.startswith("__pyx_unpickle_") else CALLED.get(place)
        if allowed is not None:
            self._callable[id(found)] = found, allowed
        elif place not in NAMED and not (isinstance(found, type) and found.__module__ == module):
            raise Refused(f"{module}.{name}")
        return found

    def load_reduce(self) -> None:
        """Call what may be called with what it may be given."""
        called, arguments = self.stack[-2:]
        known, allowed = self._callable.get(id(called), (None, None))
        if allowed is None or known is not called or type(arguments) is not tuple or not allowed(*arguments):
            kind = called if hasattr(called, "__qualname__") else type(called)
            raise Refused(f"a call of {kind.__module__}.{kind.__qualname__}")
        pickle._Unpickler.load_reduce(self)

    def load_newobj(self) -> None:
        """Make an object without its constructor; classes that do more then are refused, but for named tuples."""
        kind = self.stack[-2]
        if not isinstance(kind, type) or (kind.__new__ is not object.__new__ and not issubclass(kind, tuple)):
            raise Refused(f"an object of {getattr(kind, '__module__', type(kind).__name__)}")
        pickle._Unpickler.load_newobj(self)

    def load_build(self) -> None:
        """Set an object's state; in place of a placeholder put the array that follows in the file."""
        state, made = self.stack.pop(), self.stack[-1]
        if isinstance(made, (type, FunctionType)):
            raise Refused("the state of a class or function")
        # Of the class: an object may hold what the file has put there under this name.
        setter = getattr(type(made), "__setstate__", None)
        if setter is not None:
            setter(made, state)
        else:
            _set(made, state)
        if isinstance(made, NumpyArrayWrapper):
            self.stack[-1] = self._array(made)

    def _array(self, placeholder: NumpyArrayWrapper) -> Any:
        if not isinstance(placeholder.dtype, np.dtype) or placeholder.subclass is not np.ndarray:
            raise Refused("an array of another kind")
        if not placeholder.dtype.hasobject:
            return placeholder.read(self, self.ensure_native_byte_order)
        return Unpickler(self.filename, self.file_handle, self.ensure_native_byte_order).load()

    def _filled(self, *kinds: type) -> Any:
        """Return what is filled next, which has to be of exactly these kinds."""
        if type(self.stack[-1]) not in kinds:
            raise Refused(f"a {type(self.stack[-1]).__name__} that is filled")
        return self.stack[-1]

    def load_append(self) -> None:
        """Put a value into a list."""
        value = self.stack.pop()
        self._filled(list).append(value)

    def load_appends(self) -> None:
        """Put values into a list."""
        values = self.pop_mark()
        self._filled(list).extend(values)

    def load_additems(self) -> None:
        """Put values into a set."""
        values = self.pop_mark()
        self._filled(set).update(values)

    def load_setitem(self) -> None:
        """Put a value into a dictionary."""
        value, key = self.stack.pop(), self.stack.pop()
        self._filled(dict, OrderedDict)[key] = value

    def load_setitems(self) -> None:
        """Put values into a dictionary."""
        values = self.pop_mark()
        self._filled(dict, OrderedDict).update(zip(values[::2], values[1::2], strict=True))

    def refuse(self) -> None:
        """Refuse ways to make objects that no model needs."""
        raise Refused("an object made in another way")

    dispatch |= {
        pickle.ADDITEMS[0]: load_additems,
        pickle.APPEND[0]: load_append,
        pickle.APPENDS[0]: load_appends,
        pickle.BUILD[0]: load_build,
        pickle.NEWOBJ[0]: load_newobj,
        pickle.REDUCE[0]: load_reduce,
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
        **dict.fromkeys((pickle.INST[0], pickle.OBJ[0], pickle.NEWOBJ_EX[0]), refuse),
    }


def _in_modules(module: str) -> bool:
    return any(module == each or module.startswith(f"{each}.") for each in MODULES)


def _set(made: Any, state: Any) -> None:
    """Give an object what it held; nothing that Python itself looks up on it."""
    held, slots = state if isinstance(state, tuple) and len(state) == 2 else (state, None)
    for values in (held, slots):
        if values is None:
            continue
        if type(values) is not dict or not all(type(key) is str and not key.startswith("__") for key in values):
            raise Refused(f"a state of {type(made).__name__} that none has")
    made.__dict__.update(held or {})
    for name, value in (slots or {}).items():
        setattr(made, name, value)

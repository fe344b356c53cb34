"""Stored models: written with the same bytes for the same models, read without running what a file says.

``models.joblib`` is a pickle, and pickles name what is called when they are read. Only what fitted models are made of
can be named here, and programs of any other kind are refused before they run (`riskweave.survival.unpickling`). This is
a fence, not a wall: the code of the models' classes runs, and nobody has examined all of it for what strange contents
may make it do.
"""

import pickle
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from joblib.compressor import BinaryZlibFile
from joblib.numpy_pickle import NumpyPickler

from riskweave.errors import DataError
from riskweave.files import replacing
from riskweave.survival.unpickling import Refused, Unpickler

__all__ = ["load_models", "store_models"]

LEVEL = 3
"""Of zlib: higher ones take longer and save little."""

_DAMAGED = (pickle.UnpicklingError, zlib.error, EOFError, OSError, ValueError, TypeError, LookupError, AttributeError)
"""What reading a file raises that is no whole file of models."""

REMEDY = "Train the experiment again with the current study file"


def _tensor(values: np.ndarray) -> Any:
    """Return the tensor of `values`."""
    import torch

    return torch.from_numpy(values)


def _parameter(values: np.ndarray, trained: bool) -> Any:
    """Return the weights `values` of a network, which ask for gradients where they are `trained`."""
    import torch

    return torch.nn.Parameter(torch.from_numpy(values), requires_grad=trained)


class _Writer(NumpyPickler):
    """Writes tensors as arrays: torch would write where in the memory they stood, which is elsewhere in each run."""

    def reducer_override(self, obj: Any) -> Any:
        """Return how a tensor is made again; what is none goes the usual way."""
        kind = type(obj)
        if (kind.__module__, kind.__name__) == ("torch.nn.parameter", "Parameter"):
            return _parameter, (obj.detach().cpu().numpy(), obj.requires_grad)
        if (kind.__module__, kind.__name__) == ("torch", "Tensor"):
            return _tensor, (obj.detach().cpu().numpy(),)
        return NotImplemented


def store_models(content: dict[str, Any], path: Path) -> None:
    """Write ``models.joblib``, for `load_models` and no other reader.

    Parameters
    ----------
    content : dict
        The fitted models of all folds and what belongs to them. Tensors lie on the CPU when they are read again.
    path : Path
        Replaced at once when it is written.
    """
    with replacing(path) as (partial,), BinaryZlibFile(str(partial), "wb", compresslevel=LEVEL) as file:
        _Writer(file).dump(content)


def load_models(path: Path) -> dict[str, Any]:
    """Return the content of ``models.joblib``.

    Parameters
    ----------
    path : Path
        As the training of an experiment wrote it.

    Raises
    ------
    DataError
        When it is no such file, or names what no fitted model is made of; nothing of it has run then.
    """
    try:
        with Path(path).open("rb") as file, BinaryZlibFile(file, "rb") as content:
            return Unpickler(str(path), content, ensure_native_byte_order=True).load()
    except Refused as error:
        problem = f"it holds {error}, which is no part of a fitted model: somebody else may have made it"
        raise DataError(str(path), problem, REMEDY) from None
    except _DAMAGED as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise DataError(str(path), f"it cannot be read as stored models ({type(error).__name__})", REMEDY) from error

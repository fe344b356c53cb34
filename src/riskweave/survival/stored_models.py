"""Stored models: written with the same bytes for the same models, read without running anything that a file says.

``models.zip`` holds ``content.json``, which tells what each part is and holds, and ``arrays.safetensors``, the numbers.
Neither can hold code, and nothing in them is called: only classes that fitted models are made of can be named
(`riskweave.survival.stored_types`), and other names are refused before any part is made. Who makes up a file can still
choose what a model of ours then computes, and with strange enough numbers make compiled code of a library fail.
"""

import json
import zlib
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile, ZipInfo

from safetensors import SafetensorError
from safetensors.numpy import load, save

from riskweave.errors import DataError
from riskweave.files import replacing
from riskweave.survival.stored_reader import read_parts
from riskweave.survival.stored_types import RefusedError
from riskweave.survival.stored_writer import Writer

__all__ = ["load_models", "store_models"]

CONTENT, ARRAYS = "content.json", "arrays.safetensors"

LEVEL = 3
"""Of zlib: higher ones take longer and save little."""

_DAMAGED = (
    ArithmeticError, AttributeError, BadZipFile, EOFError, LookupError, MemoryError, OSError, RuntimeError,
    SafetensorError, TypeError, ValueError, zlib.error,
)  # fmt: skip
"""What reading a file raises that is no whole file of models."""

REMEDY = "Train the experiment again with the current study file"


def store_models(content: dict[str, Any], path: Path) -> None:
    """Write ``models.zip``, for `load_models`.

    Parameters
    ----------
    content : dict
        The fitted models of all folds and what belongs to them. Tensors lie on the CPU when they are read again.
    path : Path
        Replaced at once when it is written.

    Raises
    ------
    TypeError
        When the models hold something that a stored model may not be made of.
    """
    writer = Writer()
    text = json.dumps(writer.part(content), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    with replacing(path) as (partial,), ZipFile(partial, "w") as file:
        members = {CONTENT: text.encode("utf-8", "surrogatepass"), ARRAYS: save(writer.arrays)}
        for name, written in members.items():
            # Without the time of writing, and as from a Unix machine.
            member = ZipInfo(name)
            member.create_system = 3
            file.writestr(member, written, ZIP_DEFLATED, LEVEL)


def load_models(path: Path, *, remedy: str = REMEDY) -> dict[str, Any]:
    """Return the content of ``models.zip``.

    Parameters
    ----------
    path : Path
        As the training of an experiment wrote it.
    remedy : str
        What to do when it cannot be read.

    Raises
    ------
    DataError
        When it is no such file, names what no fitted model is made of, or needs a library that is not installed.
    """
    try:
        with ZipFile(path) as file:
            return read_parts(file.read(CONTENT), load(file.read(ARRAYS)))
    except RefusedError as error:
        problem = f"it holds {error}, which is no part of a fitted model: somebody else may have made it"
        raise DataError(str(path), problem, remedy) from None
    except ModuleNotFoundError as error:
        raise DataError(str(path), f"its models need {error.name}, which is not installed", "Install it") from error
    except _DAMAGED as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise DataError(str(path), f"it cannot be read as stored models ({type(error).__name__})", remedy) from error

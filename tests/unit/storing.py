"""Models as the file of an experiment holds them, and as they come out of it."""

from pathlib import Path
from typing import Any
from zipfile import ZipFile

from riskweave.survival.stored_models import load_models, store_models

__all__ = ["stored", "stored_again"]


def stored(part: Any, folder: Path) -> bytes:
    """Return what the file says of a part of a model, names and numbers."""
    store_models({"part": part}, folder / "part.zip")
    with ZipFile(folder / "part.zip") as file:
        return b"".join(file.read(name) for name in file.namelist())


def stored_again(part: Any, folder: Path) -> Any:
    """Return a part of a model after it was stored."""
    store_models({"part": part}, folder / "part.zip")
    return load_models(folder / "part.zip")["part"]

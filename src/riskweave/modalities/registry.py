"""From the name of a modality to what it does."""

import importlib

from riskweave.errors import StudyError, nearest
from riskweave.modalities.contract import Modality
from riskweave.modalities.implementations import PARTS

__all__ = ["find_modality"]


def find_modality(name: str) -> Modality:
    """Return a modality by its name; its module is imported now.

    Raises
    ------
    StudyError
        When there is none of that name.
    """
    if name not in PARTS:
        raise StudyError(f"modality: there is none {name!r}.{nearest(name, PARTS)} Allowed: {', '.join(PARTS)}")
    return importlib.import_module(PARTS[name].reading).MODALITY

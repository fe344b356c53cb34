"""Packages that some models need and an installation may lack."""

from types import ModuleType

from riskweave.errors import StudyError

__all__ = ["load_sksurv"]


def load_sksurv(kind: str) -> tuple[ModuleType, ModuleType]:
    """Return ``sksurv.ensemble`` and ``sksurv.util``.

    Parameters
    ----------
    kind : str
        Kind of model that needs them.

    Raises
    ------
    StudyError
        When scikit-survival is not installed: it is GPL-3 and therefore an optional extra.
    """
    try:
        from sksurv import ensemble, util
    except ImportError as error:
        raise StudyError(
            f"models of kind {kind} need scikit-survival, which is not installed. Install the extra: "
            "pip install 'riskweave[forest]' (scikit-survival is GPL-3), or remove these models from the study"
        ) from error
    return ensemble, util

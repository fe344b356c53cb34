"""Is the module the model? Every subject of the study through both, from raw files and events to the risks."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from riskweave.deployment.patients import Source, patients_of
from riskweave.deployment.runtime.given import PatientError
from riskweave.deployment.runtime.module import Module
from riskweave.deployment.runtime.readers import ReadError, read_ecg, read_image
from riskweave.modalities.image import read_grey

__all__ = ["TOLERANCE", "Parity", "ParityError", "check_parity", "describe", "module_risks"]

logger = logging.getLogger(__name__)

TOLERANCE = 1e-6
"""Largest difference of a risk between module and pipeline; more only as far as the pipeline's own rounding goes."""


MOST = 1e-4
"""Difference that is too large whatever the rounding: a hundredth of a percent of risk."""


class ParityError(RuntimeError):
    """The module does not compute what the model that was evaluated computes: it must not be used."""


@dataclass(frozen=True)
class Parity:
    """What the comparison found.

    Attributes
    ----------
    subjects : int
        Who were compared.
    refused : int
        Subjects whose values or recordings the module refuses, such as values beyond the hard limits of an input.
    largest, median : float
        Difference of a risk, of any cause and time: the largest, and the median over the subjects of their largest.
    rounding : float
        Largest difference between the pipeline's networks in single and double precision, in some subjects.
    """

    subjects: int
    refused: int
    largest: float
    median: float
    rounding: float

    @property
    def allowed(self) -> float:
        """The difference up to which the module is the model."""
        return min(max(TOLERANCE, 4.0 * self.rounding), MOST)


def module_risks(module: Module, source: Source, subjects: pd.Index) -> tuple[np.ndarray, dict[str, int]]:
    """Predict subjects by a module, from their raw data.

    Parameters
    ----------
    module : Module
    source : Source
    subjects : Index of subject_id, sorted

    Returns
    -------
    risks : float64 array (n, causes, times)
        NaN for those whom the module refuses.
    refused : dict of str to int
        How many for which reason: the input's name, or what is wrong with a file.
    """
    schema = module.schema
    risks = np.full((len(subjects), len(schema["causes"]), len(schema["times"])), np.nan)
    place = {name: number for number, name in enumerate(subjects)}
    refused: dict[str, int] = {}
    began = told = time.monotonic()
    for done, (name, patient, ecg, image) in enumerate(patients_of(schema, source, subjects)):
        try:
            module.set_patient(patient)
            if ecg is not None:
                module.set_ecg(*read_ecg(ecg))
            if image is not None:
                module.set_image(_picture(image))
            risks[place[name]] = module.predict(contributions=False).risks
        except PatientError as error:
            for reason in {each.input or "patient" for each in error.problems}:
                refused[reason] = refused.get(reason, 0) + 1
        except ReadError:
            refused["file"] = refused.get("file", 0) + 1
        if time.monotonic() - told > 10:
            told = time.monotonic()
            logger.info("%d of %d subjects through the module, %.0f s", done + 1, len(subjects), told - began)
    return risks, refused


def _picture(path: Path) -> np.ndarray:
    """Return the greys of a picture; those that a bundle asks to export once more (compressed DICOM) are decoded."""
    try:
        return read_image(path)
    except ReadError:
        return read_grey(path)


def check_parity(
    found: np.ndarray, wanted: np.ndarray, *, double: np.ndarray, some: Sequence[int], refused: Mapping[str, int]
) -> Parity:
    """Compare the risks of a module with those of the pipeline.

    Parameters
    ----------
    found, wanted : float64 arrays (n, causes, times)
        Of the module (NaN: refused) and of the pipeline.
    double : float64 array (m, causes, times)
        The pipeline's with networks in double precision, of the rows `some`.
    some : sequence of int
    refused : mapping of reason to number

    Raises
    ------
    ParityError
        When a risk differs by more than `Parity.allowed`, or the module refuses more than 1 % of the subjects.
    """
    known = ~np.isnan(found).any(axis=(1, 2))
    apart = np.abs(found - wanted).max(axis=(1, 2))[known]
    rounding = float(np.abs(wanted[list(some)] - double).max(initial=0.0))
    parity = Parity(
        subjects=len(found),
        refused=int((~known).sum()),
        largest=float(apart.max(initial=0.0)),
        median=float(np.median(apart)) if len(apart) else 0.0,
        rounding=rounding,
    )
    if parity.refused > 0.01 * len(found):
        reasons = ", ".join(f"{reason}: {number}" for reason, number in sorted(refused.items()))
        raise ParityError(
            f"the module refuses {parity.refused} of {len(found)} subjects of the study ({reasons}). Widen the limits "
            "of these inputs under `deployment.inputs`, or leave out the values in the study"
        )
    if not parity.largest <= parity.allowed:
        more = int((apart > parity.allowed).sum())
        raise ParityError(
            f"the module is not the model: {more} of {len(apart)} subjects differ by more than {parity.allowed:.1e}, "
            f"the most by {parity.largest:.1e}. This is a fault of riskweave: do not use the module, and report it"
        )
    return parity


def describe(parity: Parity) -> dict[str, Any]:
    """Return what ``parity.json`` tells: numbers about all subjects together, none about one."""
    return {
        "subjects": parity.subjects,
        "refused": parity.refused,
        "largest_difference": parity.largest,
        "median_difference": parity.median,
        "allowed_difference": parity.allowed,
        "rounding_of_the_pipeline": parity.rounding,
    }

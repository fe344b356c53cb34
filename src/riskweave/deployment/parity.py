"""Is the module the model? Every subject of the study through both, from raw files and events to the risks."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from riskweave.deployment.patients import Source, patients_of
from riskweave.deployment.runtime.given import PatientError
from riskweave.deployment.runtime.module import Module
from riskweave.deployment.runtime.readers import ReadError, read_ecg, read_image
from riskweave.deployment.runtime.reading import CompressedError
from riskweave.deployment.runtime.stored import Buffer
from riskweave.modalities.files import UnreadableFileError
from riskweave.modalities.image import read_grey

__all__ = ["TOLERANCE", "Parity", "ParityError", "Predicted", "check_parity", "describe", "module_risks"]

logger = logging.getLogger(__name__)

TOLERANCE = 1e-6
"""Largest difference of a risk between module and pipeline; more only as far as the pipeline's own rounding goes."""


MOST = 1e-4
"""Difference that is too large whatever the rounding: a hundredth of a percent of risk."""


ECG_FILE, IMAGE_FILE = "ecg file", "image file"
"""Why somebody is refused whose file cannot be read."""


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
    pictures, compressed : int
        As of `Predicted`.
    """

    subjects: int
    refused: int
    largest: float
    median: float
    rounding: float
    pictures: int = 0
    compressed: int = 0

    @property
    def allowed(self) -> float:
        """The difference up to which the module is the model."""
        return min(max(TOLERANCE, 4.0 * self.rounding), MOST)


@dataclass
class Predicted:
    """What a module said to the study's people.

    Attributes
    ----------
    risks : float64 array (n, causes, times)
        NaN for those whom the module refuses.
    refused : dict of str to int
        How many for which reason: the input's name, or the kind of the file.
    pictures, compressed : int
        Pictures that were read, and those among them that a bundle asks to export anew: compressed DICOM.
    """

    risks: np.ndarray
    refused: dict[str, int] = field(default_factory=dict)
    pictures: int = 0
    compressed: int = 0

    def refuse(self, reason: str) -> None:
        """Count a subject who is refused for a reason."""
        self.refused[reason] = self.refused.get(reason, 0) + 1

    def picture(self, path: Path) -> Buffer:
        """Return the greys of a picture; compressed DICOM is decoded as the pipeline does, and counted."""
        self.pictures += 1
        try:
            return read_image(path)
        except CompressedError:
            self.compressed += 1
            return read_grey(path)


def module_risks(module: Module, source: Source, subjects: pd.Index) -> Predicted:
    """Predict subjects by a module, from their raw data.

    Parameters
    ----------
    module : Module
    source : Source
    subjects : Index of subject_id, sorted
    """
    schema = module.schema
    found = Predicted(np.full((len(subjects), len(schema["causes"]), len(schema["times"])), np.nan))
    place = {name: number for number, name in enumerate(subjects)}
    began = told = time.monotonic()
    for done, (name, patient, ecg, image) in enumerate(patients_of(schema, source, subjects)):
        reading = ""
        try:
            module.set_patient(patient)
            if ecg is not None:
                reading = ECG_FILE
                module.set_ecg(*read_ecg(ecg))
            if image is not None:
                reading = IMAGE_FILE
                module.set_image(found.picture(image))
            found.risks[place[name]] = module.predict(contributions=False).risks
        except PatientError as error:
            for reason in {each.input or "patient" for each in error.problems}:
                found.refuse(reason)
        except (ReadError, UnreadableFileError):
            found.refuse(reading)
        if time.monotonic() - told > 10:
            told = time.monotonic()
            logger.info("%d of %d subjects through the module, %.0f s", done + 1, len(subjects), told - began)
    if found.compressed:
        logger.warning(
            "%d of %d pictures are compressed DICOM, which a bundle refuses until they are exported anew",
            found.compressed,
            found.pictures,
        )
    return found


def check_parity(found: Predicted, wanted: np.ndarray, *, double: np.ndarray, some: Sequence[int]) -> Parity:
    """Compare the risks of a module with those of the pipeline.

    Parameters
    ----------
    found : Predicted
        By the module.
    wanted : float64 array (n, causes, times)
        By the pipeline.
    double : float64 array (m, causes, times)
        The pipeline's with networks in double precision, of the rows `some`.
    some : sequence of int

    Raises
    ------
    ParityError
        When a risk differs by more than `Parity.allowed`, or the module refuses more than 1 % of the subjects.
    """
    known = ~np.isnan(found.risks).any(axis=(1, 2))
    apart = np.abs(found.risks - wanted).max(axis=(1, 2))[known]
    rounding = float(np.abs(wanted[list(some)] - double).max(initial=0.0))
    parity = Parity(
        subjects=len(wanted),
        refused=int((~known).sum()),
        largest=float(apart.max(initial=0.0)),
        median=float(np.median(apart)) if len(apart) else 0.0,
        rounding=rounding,
        pictures=found.pictures,
        compressed=found.compressed,
    )
    if parity.refused > 0.01 * parity.subjects:
        reasons = ", ".join(f"{reason}: {number}" for reason, number in sorted(found.refused.items()))
        raise ParityError(
            f"the module refuses {parity.refused} of {parity.subjects} subjects of the study ({reasons}). "
            + " ".join(_remedies(found.refused))
        )
    if not parity.largest <= parity.allowed:
        more = int((apart > parity.allowed).sum())
        raise ParityError(
            f"the module is not the model: {more} of {len(apart)} subjects differ by more than {parity.allowed:.1e}, "
            f"the most by {parity.largest:.1e}. This is a fault of riskweave: do not use the module, and report it"
        )
    return parity


def _remedies(refused: Mapping[str, int]) -> Iterator[str]:
    """Yield what can be done about these reasons."""
    files = {ECG_FILE, IMAGE_FILE}
    if set(refused) - files:
        yield ("Widen the limits of these inputs under `deployment.inputs`, or leave out the values in the study.")
    if set(refused) & files:
        yield (
            "A bundle reads no files of this kind: docs/deployment.md lists those that it reads. Export them anew, or "
            "take them out of the manifest."
        )


def describe(parity: Parity) -> dict[str, Any]:
    """Return what ``parity.json`` tells: numbers about all subjects together, none about one."""
    return {
        "subjects": parity.subjects,
        "refused": parity.refused,
        "pictures": parity.pictures,
        "pictures_to_export_anew": parity.compressed,
        "largest_difference": parity.largest,
        "median_difference": parity.median,
        "allowed_difference": parity.allowed,
        "rounding_of_the_pipeline": parity.rounding,
    }

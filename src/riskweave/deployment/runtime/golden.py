"""Golden patients as they are stored: recordings, pictures and the bits of the expected outputs."""

import base64
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from riskweave.deployment.runtime.module import Module

__all__ = ["MISSING_SAMPLE", "GoldenError", "check_golden", "decode_ecg", "decode_image", "give_recordings", "hexes_of"]

MISSING_SAMPLE = -32768


class GoldenError(RuntimeError):
    """A golden patient does not get the outputs that it got when the bundle was built: nothing must be predicted."""


def give_recordings(module: Module, patient: Mapping[str, Any]) -> None:
    """Give a golden patient's recordings to a module that has its values."""
    if patient["ecg"] is not None:
        module.set_ecg(decode_ecg(patient["ecg"]), patient["ecg"]["rate"])
    if patient["image"] is not None:
        module.set_image(decode_image(patient["image"]))


def check_golden(module: Module, golden: Mapping[str, Any]) -> None:
    """Predict all golden patients, and compare each bit of their risks.

    Parameters
    ----------
    module : Module
        Without a patient afterwards.
    golden : mapping
        Content of ``golden.json``.

    Raises
    ------
    GoldenError
        When one differs.
    """
    for patient in golden["patients"]:
        module.set_patient(patient["patient"])
        give_recordings(module, patient)
        if hexes_of(module.predict(contributions=False).risks) != list(patient["risks"]):
            raise GoldenError(
                f"the golden patient {patient['name']!r} gets other risks than when the bundle was built: the bundle "
                "is damaged, or this machine computes wrongly. Do not use it; fetch the bundle again"
            )
    module.reset()


def decode_ecg(ecg: Mapping[str, Any]) -> np.ndarray:
    """Return a golden recording (12, samples) in mV, NaN where it is missing."""
    stored = np.frombuffer(base64.b64decode(ecg["microvolts"]), dtype="<i2").reshape(len(ecg["leads"]), ecg["samples"])
    return np.where(stored == MISSING_SAMPLE, np.nan, stored / 1000.0)


def decode_image(image: Mapping[str, Any]) -> np.ndarray:
    """Return a golden picture (height, width), float32 greys from 0 to 255."""
    pixels = np.frombuffer(base64.b64decode(image["pixels"]), dtype=np.uint8)
    return pixels.reshape(image["height"], image["width"]).astype(np.float32)


def hexes_of(risks: np.ndarray) -> list[str]:
    """Return each number as the 16 hexadecimal digits of its 64 bits, the sign first."""
    return [struct.pack(">d", float(value)).hex() for value in np.asarray(risks, dtype=np.float64).ravel()]

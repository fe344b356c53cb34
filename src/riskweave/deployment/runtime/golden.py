"""Golden patients as they are stored: recordings, pictures and the bits of the expected outputs."""

import binascii
import struct
from collections.abc import Iterable, Mapping
from typing import Any

from riskweave.deployment.runtime.module import Module
from riskweave.deployment.runtime.reading import LEADS
from riskweave.deployment.runtime.stored import Layout, Numbers, Stored

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


def decode_ecg(ecg: Mapping[str, Any]) -> Stored:
    """Return a golden recording: microvolts, one lead after the other."""
    samples = ecg["samples"]
    layouts = {place: Layout(place * samples, 1, 1000.0, 0.0, 1.0, MISSING_SAMPLE) for place in range(len(LEADS))}
    return Stored(samples, (Numbers(binascii.a2b_base64(ecg["microvolts"]), 2, layouts),))


def decode_image(image: Mapping[str, Any]) -> memoryview:
    """Return a golden picture: bytes (height, width), greys from 0 to 255."""
    return memoryview(binascii.a2b_base64(image["pixels"])).cast("B", (image["height"], image["width"]))


def hexes_of(risks: Iterable[Iterable[float]]) -> list[str]:
    """Return each number as the 16 hexadecimal digits of its 64 bits, the sign first.

    Parameters
    ----------
    risks : floats (causes, times)
        Rows of any kind.
    """
    return [struct.pack(">d", risk).hex() for own in risks for risk in own]

"""Which modules implement a modality.

They are imported by name, when they are asked for. That keeps torch out of the jobs that only read, and lets a job
depend on the code of its own modality alone: editing a network reads no file again. The Snakefile reads this table to
know that code, so this module imports nothing of the package.
"""

from typing import NamedTuple

__all__ = ["PARTS", "Parts"]

_NETWORKS = "riskweave.networks"
_MODALITIES = "riskweave.modalities"


class Parts(NamedTuple):
    """The modules of a modality.

    Attributes
    ----------
    reading : str
        Module with its ``MODALITY`` (`riskweave.modalities.contract.Modality`).
    inputs : str
        Module that opens what reading wrote: ``open_inputs``, ``one_input``, ``prepared_from``.
    network : str
        Module with ``from_block(encoder, **sizes)``, the network of an encoder block.
    augmentation : str or None
        Function of `riskweave.networks.augment` that changes training inputs at random.
    """

    reading: str
    inputs: str
    network: str
    augmentation: str | None = None

    def learning(self) -> tuple[str, ...]:
        """Return the modules that training executes, and reading does not."""
        return (self.inputs, self.network, f"{_NETWORKS}.augment")


PARTS = {
    "ecg": Parts(f"{_MODALITIES}.ecg", f"{_MODALITIES}.dense", f"{_NETWORKS}.tcn", "jitter_recordings"),
    "image": Parts(f"{_MODALITIES}.image", f"{_MODALITIES}.dense", f"{_NETWORKS}.cnn", "jitter_images"),
    "audio": Parts(f"{_MODALITIES}.audio", f"{_MODALITIES}.dense", f"{_NETWORKS}.spectrogram", "jitter_spectrograms"),
    "text": Parts(f"{_MODALITIES}.text", f"{_MODALITIES}.words", f"{_NETWORKS}.lstm", "drop_words"),
    "event_sequence": Parts(
        f"{_MODALITIES}.event_sequence", f"{_MODALITIES}.sequences", f"{_NETWORKS}.events", "drop_events"
    ),
}
"""Modality to its modules: those of the feature sets that are read one recording, note or event at a time."""

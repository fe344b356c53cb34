"""Random changes of training inputs that leave the outcome as likely as it was."""

import torch
from torch import Tensor

__all__ = ["drop_events", "drop_words", "jitter_images", "jitter_recordings", "jitter_spectrograms"]


def drop_events(codes: Tensor, *, share: float = 0.1) -> Tensor:
    """Leave each event out with a probability: its code becomes 0, which networks do not look at.

    Parameters
    ----------
    codes : Tensor (n, events) of int64
        0 where there is none.
    share : float
        Probability (0 to 1).

    Returns
    -------
    Tensor (n, events)
    """
    return torch.where(torch.rand(codes.shape, device=codes.device) < share, 0, codes)


def drop_words(words: Tensor, *, share: float = 0.1) -> Tensor:
    """Make each word unknown (1) with a probability, so that no single word decides.

    Parameters
    ----------
    words : Tensor (n, words) of int64
        0 behind the end of a note.
    share : float
        Probability (0 to 1).

    Returns
    -------
    Tensor (n, words)
    """
    chosen = (torch.rand(words.shape, device=words.device) < share) & (words != 0)
    return torch.where(chosen, 1, words)


def jitter_recordings(x: Tensor) -> Tensor:
    """Scale each recording by 0.9 to 1.1 and rotate it in time by a random number of samples.

    Parameters
    ----------
    x : Tensor (n, leads, samples)

    Returns
    -------
    Tensor (n, leads, samples)
    """
    n, _, samples = x.shape
    gain = torch.empty(n, 1, 1, device=x.device).uniform_(0.9, 1.1)
    shift = torch.randint(samples, (n, 1, 1), device=x.device)
    position = (torch.arange(samples, device=x.device) + shift) % samples
    return gain * x.gather(2, position.expand_as(x))


def jitter_images(x: Tensor, *, shift: float = 0.05) -> Tensor:
    """Move each image by up to `shift` of its edge, repeating the border, and scale its contrast by 0.9 to 1.1.

    Images are not mirrored: the side on which a heart lies is a finding.

    Parameters
    ----------
    x : Tensor (n, height, width) or (n, channels, height, width)
    shift : float
        Largest move as a share of the edge.

    Returns
    -------
    Tensor of the same shape
    """
    n, height, width = x.shape[0], x.shape[-2], x.shape[-1]
    rows = _moved(n, height, round(shift * height), x.device)
    columns = _moved(n, width, round(shift * width), x.device)
    gain = torch.empty([n] + [1] * (x.ndim - 1), device=x.device).uniform_(0.9, 1.1)
    flat = x.reshape(n, -1, height, width)
    flat = flat.gather(2, rows[:, None, :, None].expand_as(flat))
    flat = flat.gather(3, columns[:, None, None, :].expand_as(flat))
    return gain * flat.reshape(x.shape)


def jitter_spectrograms(x: Tensor, *, level: float = 2.0) -> Tensor:
    """Make each spectrogram louder or softer by up to `level` dB, and rotate it in time by a random number of frames.

    Parameters
    ----------
    x : Tensor (n, bands, frames)
        In dB.
    level : float
        Largest change of the level in dB.

    Returns
    -------
    Tensor (n, bands, frames)
    """
    n, _, frames = x.shape
    change = torch.empty(n, 1, 1, device=x.device).uniform_(-level, level)
    shift = torch.randint(frames, (n, 1, 1), device=x.device)
    position = (torch.arange(frames, device=x.device) + shift) % frames
    return change + x.gather(2, position.expand_as(x))


def _moved(n: int, size: int, most: int, device: torch.device) -> Tensor:
    """Return for each of n images the positions (n, size) that a random move of up to `most` pixels reads."""
    move = torch.randint(-most, most + 1, (n, 1), device=device)
    return (torch.arange(size, device=device) + move).clamp(0, size - 1)

"""Plain measurements of images whose values are known."""

import numpy as np
import PIL.Image
import pytest

from riskweave.modalities.image import MODALITY, read_image
from riskweave.modalities.image_measurements import LOCAL_MEASUREMENTS, MEASUREMENTS, measure, measure_locally
from riskweave.study.features import ImageFeatures


def png(path, values):
    PIL.Image.fromarray(values).save(path)
    return path


def test_measurements_of_known_images(tmp_path):
    """Gratings and discs whose levels, scale and place are known."""
    across = np.tile(0.5 + 0.5 * np.sin(2 * np.pi * 12 * (np.arange(256) + 0.5) / 256), (256, 1))
    values = measure(across, across)
    assert values["grey_p50"] == pytest.approx(0.5, abs=0.02)
    assert values["grey_p90"] == pytest.approx(0.5 + 0.5 * np.sin(np.pi * 0.4), abs=0.01)
    assert values["contrast"] == pytest.approx(np.sqrt(1 / 8), abs=1e-3)
    assert values["power_8_16"] == pytest.approx(0, abs=0.05)
    assert values["power_32_64"] < -40
    assert values["centre_x"] == pytest.approx(-100 / (24 * np.pi), abs=0.01)  # the integral of x sin(24 pi x)
    assert values["spread_y"] == pytest.approx(100 / np.sqrt(12), abs=0.1)
    rows, columns = np.mgrid[:256, :256]
    disc = ((rows - 127.5) ** 2 + (columns - 191.5) ** 2 < 40**2).astype(float)
    values = measure(disc, disc)
    assert values["centre_x"] == pytest.approx(25, abs=0.2)
    assert values["centre_y"] == pytest.approx(0, abs=0.01)
    assert values["spread_x"] == pytest.approx(100 * 40 / 2 / 256, rel=0.01)
    assert values["asymmetry"] == pytest.approx(2 * disc.mean())
    assert values["right"] == pytest.approx(disc[:, 171:].mean() - disc.mean())
    share = disc.mean()
    assert values["entropy"] == pytest.approx(-share * np.log2(share) - (1 - share) * np.log2(1 - share))
    assert all(np.isnan(value) for value in measure(np.zeros((9, 9)), np.zeros((256, 256))).values())
    path = png(tmp_path / "disc.png", (200 * disc + 20).astype(np.uint8))
    small, large = (
        read_image(path, features=ImageFeatures(modality="image", size=size, measurements=True))[1]
        for size in (32, 128)
    )
    assert small == large
    for name, *_ in MEASUREMENTS:
        assert small[name] == pytest.approx(values[name], abs=1e-4)


def test_local_measurements_of_known_images(tmp_path):
    """A grating whose energy is known by hand, a bright quarter, and nothing where nothing is."""
    frequency = 2 * np.pi * 12 / 128
    grating = np.tile(0.5 + 0.25 * np.sin(frequency * np.arange(128)), (128, 1))
    values = measure_locally(np.kron(grating, np.ones((2, 2))))
    assert list(values) == [name for name, *_ in LOCAL_MEASUREMENTS]
    # The Laplacian of A sin(wx) is A (2 - 2 cos w) sin(wx); a cell holds three whole periods, of mean square 1/2.
    energy = (0.25 * (2 - 2 * np.cos(frequency))) ** 2 / 2
    assert values["fine_128_2_2"] == pytest.approx(10 * np.log10(energy), abs=0.01)
    assert values["fine_128_1_2"] == pytest.approx(10 * np.log10(energy * 31 / 32), abs=0.01)  # one row is the margin
    quarter = np.full((256, 256), 0.25)
    quarter[:128, 128:] = 0.75
    values = measure_locally(quarter)
    assert [values[f"grey_{cell}"] for cell in ("1_1", "4_5", "5_8", "8_8")] == [0.25, 0.75, 0.25, 0.25]
    assert values["fine_32_1_1"] == pytest.approx(-80)
    assert all(np.isnan(value) for value in measure_locally(np.ones((256, 256))).values())
    path = png(tmp_path / "grating.png", (255 * grating).astype(np.uint8))
    features = ImageFeatures(modality="image", size=32, local_measurements=True, encoder=None)
    facts = read_image(path, features=features)[1]
    assert {name for name, *_ in LOCAL_MEASUREMENTS} <= set(facts)
    assert "contrast" not in facts
    assert [column.name for column in MODALITY.columns(features)] == [name for name, *_ in LOCAL_MEASUREMENTS]

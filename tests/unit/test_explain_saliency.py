"""Saliency finds the planted place of a trace and of a picture, and is drawn onto them."""

import numpy as np
import pytest
import torch

from riskweave.explain.saliency import BASELINES, Saliency, draw_saliency, saliency_of

SAMPLES, BUMP = 120, slice(70, 85)
EDGE, BLOB = 16, (slice(9, 13), slice(3, 7))


def fitted(inputs: np.ndarray, target: np.ndarray, network: torch.nn.Module) -> torch.nn.Module:
    """Train a small network to tell the target from the inputs."""
    x, y = torch.from_numpy(inputs).float(), torch.from_numpy(target).float()
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(60):
        optimiser.zero_grad()
        loss = ((network(x)[:, 0] - y) ** 2).mean()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.3 * float(y.var())
    return network.eval()


@pytest.fixture(scope="module")
def trace():
    """Traces of two leads whose target is the height of a bump at one place of the second."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    height = rng.normal(size=300)
    traces = 0.3 * rng.normal(size=(300, 2, SAMPLES))
    traces[:, 1, BUMP] += height[:, None] * np.hanning(15)
    network = torch.nn.Sequential(
        torch.nn.Conv1d(2, 4, 7, padding=3), torch.nn.Tanh(), torch.nn.AvgPool1d(5), torch.nn.Flatten(),
        torch.nn.Linear(4 * SAMPLES // 5, 1),
    )  # fmt: skip
    network = fitted(traces, height, network)
    high = traces[np.argmax(height)].astype(np.float32)
    baseline = BASELINES["ecg"](traces, np.arange(300))
    return saliency_of(
        lambda x: network(x)[:, 0], high, baseline=baseline, modality="ecg", sampling_rate=100.0, steps=32
    )


@pytest.fixture(scope="module")
def picture():
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    height = rng.normal(size=300)
    pictures = (0.5 + 0.05 * rng.normal(size=(300, EDGE, EDGE))).astype(np.float32)
    pictures[:, *BLOB] += 0.15 * height[:, None, None]
    network = torch.nn.Sequential(
        torch.nn.Unflatten(1, (1, EDGE)), torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.Tanh(),
        torch.nn.Flatten(), torch.nn.Linear(4 * EDGE**2, 1),
    )  # fmt: skip
    network = fitted(pictures, height, network)
    baseline = BASELINES["image"](pictures, np.arange(200))
    return saliency_of(
        lambda x: network(x)[:, 0], pictures[np.argmax(height)], baseline=baseline, modality="image", steps=32
    )


def test_the_bump_of_a_trace_is_found(trace):
    strength = np.abs(trace.attribution)
    assert strength[1, BUMP].sum() > 0.5 * strength.sum()
    assert BUMP.start <= strength.sum(axis=0).argmax() < BUMP.stop
    assert trace.attribution[1, BUMP].sum() > 0
    assert trace.attribution.sum() == pytest.approx(trace.score - trace.baseline_score, abs=1e-3)
    assert abs(trace.gap) < 1e-3


def test_the_blob_of_a_picture_is_found(picture):
    strength = np.abs(picture.attribution)
    share = strength[BLOB].sum() / strength.sum()
    assert share > 5 * 16 / EDGE**2
    assert picture.attribution[BLOB].sum() > 0.5 * (picture.score - picture.baseline_score)


def test_the_baseline_of_images_is_their_mean_and_of_traces_silence():
    array = np.arange(24, dtype=np.float32).reshape(3, 2, 4)
    assert np.array_equal(BASELINES["image"](array, np.array([2, 0])), array[[0, 2]].mean(axis=0))
    assert not BASELINES["ecg"](array, np.array([0])).any()


def test_both_are_drawn_the_same_each_time(trace, picture, tmp_path):
    for name, saliency in (("trace", trace), ("picture", picture)):
        files = [tmp_path / f"{name}{number}.svg" for number in range(2)]
        for file in files:
            draw_saliency(saliency, file)
        assert files[0].read_bytes() == files[1].read_bytes()
        assert b"<image" in files[0].read_bytes()


def test_one_strong_place_does_not_hide_the_others():
    """The full colour is that of the strongest 0.5 %, and the colour bar says that it goes on."""
    attribution = np.zeros((2, 5000), dtype=np.float32)
    attribution[1, 200:4800] = 0.01
    attribution[0, 2500] = 5.0
    saliency = Saliency(np.zeros_like(attribution), attribution, 0.5, -0.25, 0.0, "ecg", 100.0)
    figure = draw_saliency(saliency)
    *leads, bar = figure.axes
    assert [axes.images[0].get_clim()[1] for axes in leads] == pytest.approx([0.01, 0.01], rel=1e-3)
    assert "0.50" in figure.get_suptitle()
    assert "of silence: \u22120.25" in figure.get_suptitle()
    assert bar.get_ylabel().startswith("log hazard ratio")


def test_a_recording_on_which_nothing_rests_is_drawn():
    nothing = np.zeros((8, 8), dtype=np.float32)
    figure = draw_saliency(Saliency(nothing, nothing, 0.0, 0.0, 0.0, "image"))
    assert figure.axes[1].images[1].get_clim() == (-1.0, 1.0)
    assert "of the mean picture" in figure.get_suptitle()

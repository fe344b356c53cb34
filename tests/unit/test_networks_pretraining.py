"""Objectives without labels: what is hidden is rebuilt, views of one recording are told from those of others."""

import math

import pytest
import torch

from riskweave.networks.cnn import CNN, SmallCNN
from riskweave.networks.pretraining import Contrastive, MaskedRebuild, nt_xent, views_of_images, views_of_recordings
from riskweave.networks.tcn import TCN


def tcn():
    return TCN(2, channels=8, blocks=2, kernel_size=5, embedding=3, dropout=0.0)


def trained_loss(objective, x, loss, steps=60):
    optimiser = torch.optim.Adam(objective.parameters(), lr=1e-2)
    values = []
    for _ in range(steps):
        optimiser.zero_grad()
        value = loss(objective(x))
        value.backward()
        optimiser.step()
        values.append(float(value.detach()))
    return values


def test_masked_rebuilding_learns_what_a_wave_looks_like():
    torch.manual_seed(0)
    phase = torch.rand(32, 1, 1) * 6.3
    wave = torch.sin(torch.arange(120) / 8 + phase).expand(-1, 2, -1).contiguous()
    objective = MaskedRebuild(tcn(), shape=(2, 120), patch=20, hidden=0.4)
    values = trained_loss(objective, wave, torch.mean)
    assert values[-1] < 0.6 * values[0]
    assert objective(wave).shape == (32,)


def test_hidden_values_do_not_reach_the_network():
    torch.manual_seed(0)
    objective = MaskedRebuild(tcn(), shape=(2, 100), patch=20, hidden=0.5).eval()
    x = torch.randn(4, 2, 100)
    mask = objective._mask(4, x.device).repeat_interleave(20, dim=1)
    seen = []
    objective.net.feature_map = lambda z: seen.append(z) or TCN.feature_map(objective.net, z)
    objective(x)
    objective(torch.where(mask[:, None], 99.0, x))
    assert mask.any()
    torch.testing.assert_close(seen[0], seen[1])


@pytest.mark.parametrize("size", [32, 33])
@pytest.mark.parametrize("net", [SmallCNN, CNN])
def test_images_are_rebuilt_patch_by_patch(net, size):
    further = {"architecture": "squeezenet1_1"} if net is CNN else {}
    made = net(embedding=3, dropout=0.0, **further)
    objective = MaskedRebuild(made, shape=(size, size), patch=8, hidden=0.5)
    loss = objective(torch.rand(3, size, size))
    assert loss.shape == (3,)
    loss.mean().backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in made.parameters())


@pytest.mark.parametrize("architecture", ["resnet18", "shufflenet_v2_x0_5", "mobilenet_v3_small", "convnext_tiny"])
def test_torchvision_networks_have_maps_of_positions(architecture):
    net = CNN(architecture, embedding=2, dropout=0.0).eval()
    assert net.feature_map(torch.rand(2, 64, 64)).ndim == 4
    assert net.pooled(torch.rand(2, 64, 64)).shape == (2, net.width)


def test_the_patches_are_those_of_the_input():
    objective = MaskedRebuild(SmallCNN(embedding=2, dropout=0.0), shape=(16, 16), patch=8, hidden=0.5)
    x = torch.arange(256.0).reshape(1, 1, 16, 16)
    torch.testing.assert_close(objective._patches(x)[0, 0, 1], x[0, 0, :8, 8:].flatten())


def test_contrastive_training_tells_recordings_apart():
    torch.manual_seed(0)
    objective = Contrastive(tcn(), change=views_of_recordings)
    x = torch.randn(16, 2, 1) * torch.sin(torch.arange(120) * torch.rand(16, 1, 1))
    loss = lambda z: nt_xent(z, temperature=0.1)  # noqa: E731
    values = trained_loss(objective, x, loss, steps=40)
    assert min(values) < 0.8 * values[0]


def test_views_that_tell_nothing_have_the_loss_of_a_guess():
    z = torch.ones(8, 2, 4)
    torch.testing.assert_close(nt_xent(z, temperature=0.5), torch.tensor(math.log(15)))
    apart = torch.eye(8).unsqueeze(1).expand(-1, 2, -1)
    assert nt_xent(apart, temperature=0.05) < 1e-6


def test_views_keep_the_shape():
    assert views_of_images(torch.rand(3, 20, 24)).shape == (3, 20, 24)
    assert views_of_recordings(torch.rand(3, 4, 50)).shape == (3, 4, 50)

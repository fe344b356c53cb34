"""Pooling: several recordings become one embedding, each subject's own only."""

import pytest
import torch
from torch import nn

from riskweave.networks.pooling import GatedAttention, Pooled


class Identity(nn.Module):
    features = 3

    def forward(self, x):
        return x


def test_the_mean_is_that_of_a_subjects_own_recordings():
    h = torch.randn(5, 3)
    owner = torch.tensor([0, 0, 1, 2, 2])
    pooled = Pooled(Identity(), "mean")(h, owner)
    torch.testing.assert_close(pooled, torch.stack([h[:2].mean(0), h[2], h[3:].mean(0)]))


def test_attention_starts_at_the_mean_and_one_recording_is_itself():
    h = torch.randn(4, 3)
    owner = torch.tensor([0, 1, 1, 1])
    net = Pooled(Identity(), "attention")
    torch.testing.assert_close(net(h, owner), Pooled(Identity(), "mean")(h, owner))
    nn.init.normal_(net.attention.score.weight)
    torch.testing.assert_close(net(h, owner)[0], h[0])
    weights = net.weights(h, owner)
    torch.testing.assert_close(weights.sum(1), torch.ones(2))
    assert weights[0, 1:].abs().max() == 0


def test_attention_learns_which_recording_matters():
    torch.manual_seed(0)
    net = Pooled(Identity(), "attention")
    optimiser = torch.optim.Adam(net.parameters(), lr=0.05)
    owner = torch.arange(64).repeat_interleave(3)
    for _ in range(80):
        h = torch.randn(192, 3)
        h[:, 2] = (torch.arange(192) % 3 == 0) * 2.0 - 1.0  # the recording that counts says so
        optimiser.zero_grad()
        (net(h, owner)[:, 0] - h[::3, 0]).square().mean().backward()
        optimiser.step()
    assert net.weights(h, owner)[torch.arange(64), torch.arange(64) * 3].mean() > 0.8


def test_scores_are_one_per_recording_and_other_rules_are_refused():
    assert GatedAttention(3)(torch.randn(7, 3)).shape == (7,)
    with pytest.raises(ValueError, match="'attention' and 'mean'"):
        Pooled(Identity(), "max")

"""Networks: what a position sees, what they start from, and which weights they take."""

import pytest
import torch
import torchvision
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from riskweave.networks.augment import jitter_images, jitter_recordings
from riskweave.networks.cnn import CNN, SmallCNN
from riskweave.networks.layers import ChannelScale
from riskweave.networks.lstm import WordLSTM
from riskweave.networks.mlp import MLP
from riskweave.networks.tcn import TCN


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("blocks", "kernel_size", "stride"), [(1, 3, 4), (2, 7, 4), (3, 4, 2), (2, 2, 4), (3, 5, 1)])
def test_receptive_field_is_the_footprint_of_the_gradient(blocks, kernel_size, stride, causal):
    torch.manual_seed(0)
    net = TCN(
        2,
        channels=4,
        blocks=blocks,
        kernel_size=kernel_size,
        embedding=3,
        dropout=0.0,
        stride=stride,
        causal=causal,
    ).double()
    for parameter in net.parameters():  # positive weights and inputs: no ReLU is closed, nothing cancels
        parameter.data.abs_().add_(0.01)
    x = torch.rand(1, 2, 400, dtype=torch.double).requires_grad_()
    positions = net.eval().feature_map(x)
    positions[0, 0, positions.shape[-1] // 2].backward()
    seen = x.grad[0, 0].abs().nonzero().flatten()
    assert seen[-1] - seen[0] + 1 == net.receptive_field
    assert seen[0] > 0
    own = positions.shape[-1] // 2 * stride
    assert seen[-1] == own if causal else own < seen[-1] < 399
    assert positions.shape[-1] == -(-400 // stride)


def test_an_untrained_encoder_says_nothing():
    net = TCN(12, channels=4, blocks=2, kernel_size=3, embedding=5, dropout=0.1)
    assert torch.equal(net(torch.randn(3, 12, 100)), torch.zeros(3, 5))
    assert net.features == 5


def test_scale_standardises_channels_and_leaves_flat_ones():
    x = torch.randn(50, 3, 20) * torch.tensor([1.0, 5.0, 0.0])[:, None] + torch.tensor([0.0, 2.0, 7.0])[:, None]
    scale = ChannelScale(3)
    scale.set_from(x)
    y = scale(x)
    torch.testing.assert_close(y.mean(dim=(0, 2)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(y[:, :2].std(dim=(0, 2)), torch.ones(2), atol=1e-4, rtol=0)
    assert y[:, 2].abs().max() < 1e-5
    batches = ChannelScale(3)
    batches.set_from(iter(x.split(16)))
    torch.testing.assert_close(batches.state_dict(), scale.state_dict())


def test_mlp_without_hidden_layers_is_the_input():
    x = torch.randn(4, 6)
    net = MLP(6, hidden=[], dropout=0.5)
    assert torch.equal(net(x), x)
    assert net.features == 6


@pytest.mark.parametrize(
    "architecture", ["squeezenet1_1", "shufflenet_v2_x0_5", "mobilenet_v3_small", "resnet18", "convnext_tiny"]
)
def test_cnn_embeds_grey_images_with_and_without_a_channel_axis(architecture):
    net = CNN(architecture, embedding=3, dropout=0.0).eval()
    x = torch.rand(2, 64, 64)
    assert net(x).shape == (2, 3)
    torch.testing.assert_close(net(x), net(x.unsqueeze(1)))


@pytest.mark.parametrize("shape", [(2, 64, 64), (2, 1, 64, 64), (2, 33, 47)])
def test_the_small_network_takes_grey_images_of_any_size(shape):
    net = SmallCNN(embedding=3, dropout=0.0).eval()
    assert net(torch.rand(shape)).shape == (2, 3)
    assert net.pooled(torch.rand(shape)).shape == (2, net.width)
    assert sum(parameter.numel() for parameter in net.parameters()) < 70_000


@pytest.mark.parametrize("architecture", ["squeezenet1_1", "resnet18"])
def test_trained_weights_give_what_the_colour_network_gives_on_grey(architecture):
    torch.manual_seed(1)
    original = torchvision.models.get_model(architecture, weights=None).eval()
    net = CNN(architecture, embedding=3, dropout=0.0, state=original.state_dict()).eval()
    grey = torch.rand(2, 1, 64, 64)
    if architecture == "resnet18":
        original.fc = torch.nn.Identity()
    else:
        original.classifier = torch.nn.AdaptiveAvgPool2d(1)
    torch.testing.assert_close(net.network(grey).flatten(1), original(grey.expand(-1, 3, -1, -1)).flatten(1))


def test_weights_of_another_network_are_refused():
    state = torchvision.models.get_model("squeezenet1_1", weights=None).state_dict()
    with pytest.raises(ValueError, match=r"not those of resnet18: of its \d+ tensors \d+ are missing"):
        CNN("resnet18", embedding=3, dropout=0.0, state=state)


def test_recordings_are_rotated_and_scaled_as_a_whole():
    torch.manual_seed(0)
    x = torch.randn(5, 3, 40)
    y = jitter_recordings(x)
    for before, after in zip(x, y, strict=True):
        gain = after.norm() / before.norm()
        assert 0.9 <= gain <= 1.1
        fits = [torch.allclose(gain * before.roll(-k, dims=-1), after, atol=1e-5) for k in range(40)]
        assert sum(fits) == 1


def test_images_move_a_little_and_are_not_mirrored():
    torch.manual_seed(0)
    x = torch.zeros(20, 64, 64)
    x[:, 30, 10] = 1.0
    y = jitter_images(x)
    assert y.shape == x.shape
    for image in y:
        ((row, column),) = image.nonzero().tolist()
        assert abs(row - 30) <= 3
        assert abs(column - 10) <= 3
        assert 0.9 <= image.max() <= 1.1


def test_both_directions_of_a_note_are_those_of_a_memory_that_knows_where_it_ends():
    torch.manual_seed(0)
    net = WordLSTM(20, width=5, hidden=4, embedding=3, dropout=0.0).eval()
    both = torch.nn.LSTM(5, 4, batch_first=True, bidirectional=True)
    own = {
        f"{key}{end}": value
        for end, one in (("", net.onwards), ("_reverse", net.backwards))
        for key, value in one.state_dict().items()
    }
    both.load_state_dict(own)
    lengths = torch.tensor([7, 1, 4, 9])
    words = torch.randint(1, 20, (4, 9)) * (torch.arange(9) < lengths[:, None])
    seen = []
    net.embedding.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    net(words)
    packed = pack_padded_sequence(net.vectors(words), lengths, batch_first=True, enforce_sorted=False)
    states, _ = pad_packed_sequence(both(packed)[0], batch_first=True, padding_value=torch.nan)
    torch.testing.assert_close(seen[0][:, 10:18], states.nanmean(dim=1))
    torch.testing.assert_close(seen[0][:, 18:], states.nan_to_num(-torch.inf).amax(dim=1))

from collections import OrderedDict

import pytest
import torch
from torch import nn
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7

from backbones import FPN, Level
from backbones.layers import FrozenBatchNorm

CHANNELS = (8, 12, 16, 24)
LEVELS = tuple(Level(f"C{i + 2}", c, 4 * 2**i) for i, c in enumerate(CHANNELS))
VOLUME_LEVELS = tuple(Level(f"C{i + 2}", c, (2**i, 4 * 2**i, 4 * 2**i)) for i, c in enumerate(CHANNELS))
# what an image of 65x49 and a clip of 9 frames of it give
SIZES = ((17, 13), (9, 7), (5, 4), (3, 2))
VOLUME_SIZES = ((9, 17, 13), (5, 9, 7), (3, 5, 4), (2, 3, 2))


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def maps(levels, sizes):
    return {level.name: torch.randn(2, level.channels, *size) for level, size in zip(levels, sizes, strict=True)}


def randomise(network):
    for parameter in network.parameters():
        parameter.data.normal_(0, 0.2)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return network.eval()


@pytest.mark.parametrize("norm", [None, "batch"])
@pytest.mark.parametrize(
    ("extra", "theirs", "names"),
    [
        (None, lambda: None, ["P2", "P3", "P4", "P5"]),
        ("pool", LastLevelMaxPool, ["P2", "P3", "P4", "P5", "P6"]),
        ("conv", lambda: LastLevelP6P7(CHANNELS[-1], 10), ["P2", "P3", "P4", "P5", "P6", "P7"]),
    ],
    ids=["plain", "pool", "conv"],
)
def test_pyramid_is_torchvisions(norm, extra, theirs, names):
    layer = nn.BatchNorm2d if norm else None
    peer = randomise(FeaturePyramidNetwork(list(CHANNELS), 10, extra_blocks=theirs(), norm_layer=layer))
    ours = FPN(LEVELS, channels=10, extra=extra, norm=norm).eval()
    ours.load_state_dict(peer.state_dict())  # strict: the names are torchvision's
    features = maps(LEVELS, SIZES)
    before = {name: x.clone() for name, x in features.items()}
    with torch.no_grad():
        expected, pyramid = peer(OrderedDict(features)), ours(features)
    assert list(pyramid) == names
    for x, y in zip(pyramid.values(), expected.values(), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-5, atol=1e-5)
    assert all(torch.equal(features[name], x) for name, x in before.items())


@pytest.mark.parametrize("extra", [None, "pool", "conv"])
@pytest.mark.parametrize(
    ("levels", "sizes", "input_size"), [(LEVELS, SIZES, (65, 49)), (VOLUME_LEVELS, VOLUME_SIZES, (9, 65, 49))]
)
def test_levels_tell_the_true_shapes(extra, levels, sizes, input_size):
    neck = FPN(levels, channels=6, extra=extra)
    pyramid = neck(maps(levels, sizes))
    assert [level.name for level in neck.levels] == list(pyramid)
    for level in neck.levels:
        reduction = (level.reduction,) * 2 if isinstance(level.reduction, int) else level.reduction
        expected = tuple(-(-size // r) for size, r in zip(input_size, reduction, strict=True))
        assert pyramid[level.name].shape == (2, level.channels, *expected)
        assert level.channels == 6


def test_some_levels_only():
    neck = FPN(LEVELS[1:], channels=6, extra="conv")
    pyramid = neck(maps(LEVELS, SIZES))  # C2 is there and not asked for
    assert neck.levels == tuple(Level(f"P{i}", 6, 2**i) for i in range(3, 8))
    assert list(pyramid) == ["P3", "P4", "P5", "P6", "P7"]


def test_one_frame_gives_the_pyramid_of_the_image():
    flat, deep = FPN(LEVELS, channels=6), FPN(VOLUME_LEVELS, channels=6)
    state = {}
    for key, value in deep.state_dict().items():
        state[key] = torch.zeros_like(value) if value.dim() == 5 else value
        if value.dim() == 5:  # only the middle slice of the kernel sees the frame; the others see padding
            state[key][:, :, value.shape[2] // 2] = flat.state_dict()[key]
    deep.load_state_dict(state)
    features = maps(LEVELS, SIZES)
    frames = deep({name: x[:, :, None] for name, x in features.items()})
    for name, x in flat(features).items():
        torch.testing.assert_close(frames[name][:, :, 0], x, rtol=1e-5, atol=1e-5)


def test_a_norm_takes_the_place_of_the_biases():
    neck = FPN(LEVELS, channels=8, norm="frozen")
    assert sum(isinstance(module, FrozenBatchNorm) for module in neck.modules()) == 8
    assert all(module.bias is None for module in neck.modules() if isinstance(module, nn.Conv2d))


def test_unknown_extra_names_the_choices():
    with pytest.raises(ValueError, match=r"'max'.*pool"):
        FPN(LEVELS, extra="max")

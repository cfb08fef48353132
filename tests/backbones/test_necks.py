from collections import OrderedDict

import pytest
import torch
from torch import nn
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7

from vertebra.backbones import FPN, Level
from vertebra.backbones.bifpn import Node
from vertebra.backbones.layers import FrozenBatchNorm
from vertebra.backbones.necks import PAFPN, BiFPN, create_neck

CHANNELS = (8, 12, 16, 24)
LEVELS = tuple(Level(f"C{i + 2}", c, 4 * 2**i) for i, c in enumerate(CHANNELS))
VOLUME_LEVELS = tuple(Level(f"C{i + 2}", c, (2**i, 4 * 2**i, 4 * 2**i)) for i, c in enumerate(CHANNELS))
# what an image of 65x49 and a clip of 9 frames of it give
SIZES = ((17, 13), (9, 7), (5, 4), (3, 2))
VOLUME_SIZES = ((9, 17, 13), (5, 9, 7), (3, 5, 4), (2, 3, 2))


NECKS = [FPN, PAFPN, BiFPN]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def maps(levels, sizes):
    return {level.name: torch.randn(2, level.channels, *size) for level, size in zip(levels, sizes, strict=True)}


def randomize(network):
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
        ("conv_p5", lambda: LastLevelP6P7(10, 10), ["P2", "P3", "P4", "P5", "P6", "P7"]),
    ],
    ids=["plain", "pool", "conv", "conv_p5"],
)
def test_pyramid_is_torchvisions(norm, extra, theirs, names):
    layer = nn.BatchNorm2d if norm else None
    peer = randomize(FeaturePyramidNetwork(list(CHANNELS), 10, extra_blocks=theirs(), norm_layer=layer))
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


@pytest.mark.parametrize("neck", NECKS)
@pytest.mark.parametrize("extra", [None, "pool", "conv", "conv_p5"])
@pytest.mark.parametrize(
    ("levels", "sizes", "input_size"), [(LEVELS, SIZES, (65, 49)), (VOLUME_LEVELS, VOLUME_SIZES, (9, 65, 49))]
)
def test_levels_tell_the_true_shapes(neck, extra, levels, sizes, input_size):
    neck = neck(levels, channels=6, extra=extra)
    pyramid = neck(maps(levels, sizes))
    assert [level.name for level in neck.levels] == list(pyramid)
    for level in neck.levels:
        reduction = (level.reduction,) * 2 if isinstance(level.reduction, int) else level.reduction
        expected = tuple(-(-size // r) for size, r in zip(input_size, reduction, strict=True))
        assert pyramid[level.name].shape == (2, level.channels, *expected)
        assert level.channels == 6


@pytest.mark.parametrize("neck", NECKS)
def test_some_levels_only(neck):
    neck = neck(LEVELS[1:], channels=6, extra="conv")
    pyramid = neck(maps(LEVELS, SIZES))  # C2 is there and not asked for
    assert neck.levels == tuple(Level(f"P{i}", 6, 2**i) for i in range(3, 8))
    assert list(pyramid) == ["P3", "P4", "P5", "P6", "P7"]


@pytest.mark.parametrize("neck", NECKS)
def test_one_level_is_enough(neck):
    neck = neck(LEVELS[2:3], channels=6, extra="pool")
    assert neck.levels == (Level("P4", 6, 16), Level("P5", 6, 32))
    assert {name: x.shape[2:] for name, x in neck(maps(LEVELS, SIZES)).items()} == {"P4": (5, 4), "P5": (3, 2)}
    assert list(type(neck)(LEVELS[:1], channels=6)(maps(LEVELS, SIZES))) == ["P2"]


@pytest.mark.parametrize("neck", NECKS)
@pytest.mark.parametrize(
    ("reductions", "sizes"),
    [
        ((1, 2, 4), ((33, 21), (17, 11), (9, 6))),
        ((4, 8, 8, 8), ((9, 6), (5, 3), (5, 3), (5, 3))),  # dilated
        ((4, 8, 16), ((17, 9), (8, 4), (4, 2))),  # networks that round down, as VGG does
        ((4, 16), ((17, 13), (5, 4))),
    ],
)
def test_reductions_of_any_network(neck, reductions, sizes):
    levels = [Level(f"C{i + 2}", 6, reduction) for i, reduction in enumerate(reductions)]
    neck = neck(levels, channels=5, extra="pool").train()
    pyramid = neck(maps(levels, sizes))
    assert [tuple(x.shape[2:]) for x in pyramid.values()] == [*sizes, tuple(-(-size // 2) for size in sizes[-1])]
    sum(x.square().sum() for x in pyramid.values()).backward()
    assert [name for name, parameter in neck.named_parameters() if parameter.grad is None] == []


def test_strides_follow_the_time_as_the_backbone_does():
    levels = [Level("C2", 4, (1, 4, 4)), Level("C3", 4, (1, 8, 8))]
    features = {"C2": torch.randn(1, 4, 5, 9, 7), "C3": torch.randn(1, 4, 5, 5, 4)}
    for neck in NECKS:
        assert [tuple(x.shape[2:]) for x in neck(levels, 6)(features).values()] == [(5, 9, 7), (5, 5, 4)]
    assert PAFPN(levels, 6).down_blocks[0][0].stride == (1, 2, 2)


@pytest.mark.parametrize("neck", NECKS)
def test_one_frame_gives_the_pyramid_of_the_image(neck):
    flat, deep = neck(LEVELS, channels=6), neck(VOLUME_LEVELS, channels=6)
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


@pytest.mark.parametrize(("neck", "count"), [(FPN, 8), (PAFPN, 8 + 6), (BiFPN, 4 + 3 * 6)])
def test_a_norm_takes_the_place_of_the_biases(neck, count):
    neck = neck(LEVELS, channels=8, norm="frozen")
    assert sum(isinstance(module, FrozenBatchNorm) for module in neck.modules()) == count
    assert all(module.bias is None for module in neck.modules() if isinstance(module, nn.Conv2d))


@pytest.mark.parametrize("neck", NECKS)
def test_unknown_extra_names_the_choices(neck):
    with pytest.raises(ValueError, match=r"'max'.*pool"):
        neck(LEVELS, extra="max")
    with pytest.raises(ValueError, match="levels is empty"):
        neck(())


def test_necks_by_name():
    kinds = [type(create_neck(name, LEVELS, 6, norm="group")) for name in ("fpn", "pafpn", "bifpn")]
    assert kinds == NECKS
    with pytest.raises(ValueError, match="unknown neck 'panet'; choose fpn, pafpn, bifpn"):
        create_neck("panet", LEVELS)


def test_path_aggregation_by_the_formula():
    neck = randomize(PAFPN(LEVELS, channels=6, norm="batch"))
    features = maps(LEVELS, SIZES)
    with torch.no_grad():
        found, expected = neck(features), list(neck.fpn(features).values())
        for i in range(1, 4):
            down = neck.down_blocks[i - 1](expected[i - 1])  # what went into it is already the finer N
            expected[i] = neck.fusion_blocks[i - 1](down + expected[i])
            assert expected[i].min() == 0  # a ReLU closes it
    assert torch.equal(found["P2"], neck.fpn(features)["P2"])
    for x, y in zip(found.values(), expected, strict=True):
        torch.testing.assert_close(x, y)


def test_what_the_finest_map_shows_reaches_the_coarsest():
    features = maps(LEVELS, SIZES)
    changed = features | {"C2": features["C2"] + 1}
    for neck, reached in ((FPN, False), (PAFPN, True), (BiFPN, True)):
        network = neck(LEVELS, channels=6)
        assert torch.equal(network(features)["P5"], network(changed)["P5"]) != reached


def test_bidirectional_fusion_by_the_formula():
    neck = randomize(BiFPN(LEVELS[:3], channels=6, norm="batch", repeats=1))
    for module in neck.modules():
        if isinstance(module, Node):
            module.weights.data = torch.rand_like(module.weights) + 0.1
    features = maps(LEVELS[:3], SIZES[:3])

    def fused(node, *inputs):
        w = node.weights
        x = sum(w[i] * inputs[i] for i in range(len(inputs))) / (w.sum() + 1e-4)
        return node.norm(node.pointwise(node.depthwise(x * x.sigmoid())))

    def up(x, size):
        return nn.functional.interpolate(x, size=size)

    def down(x):
        return nn.functional.max_pool2d(x, 3, stride=2, padding=1)

    with torch.no_grad():
        found = neck(features)
        a, b, c = (block(features[f"C{i + 2}"]) for i, block in enumerate(neck.inner_blocks))
        towards, back = neck.rounds[0].up_nodes, neck.rounds[0].down_nodes
        middle = fused(towards[1], b, up(c, SIZES[1]))
        p2 = fused(towards[0], a, up(middle, SIZES[0]))
        p3 = fused(back[0], b, middle, down(p2))
        p4 = fused(back[1], c, down(p3))
    for name, x in (("P2", p2), ("P3", p3), ("P4", p4)):
        torch.testing.assert_close(found[name], x, rtol=1e-4, atol=1e-5)


def test_a_map_of_negative_weight_does_not_count():
    node = Node(2, 4, 2, norm=None)
    node.weights.data = torch.tensor([0.7, -0.5])
    x = torch.randn(1, 4, 5, 5)
    assert torch.equal(node(x, torch.randn_like(x)), node(x, torch.zeros_like(x)))


def test_repeats():
    assert len(BiFPN(LEVELS, 6, repeats=5).rounds) == 5
    with pytest.raises(ValueError, match="repeats is 0; a BiFPN has"):
        BiFPN(LEVELS, 6, repeats=0)


class RoundedDown(nn.Module):
    """A neck on a backbone that halves odd sizes downwards, as ConvNeXt does."""

    def __init__(self, neck):
        super().__init__()
        self.neck = neck

    def forward(self, images):
        maps = [nn.functional.avg_pool2d(images, 2**i) for i in range(3)]
        return tuple(self.neck(dict(zip(("C2", "C3", "C4"), maps, strict=True))).values())


@pytest.mark.parametrize("neck", NECKS)
def test_an_exported_neck_takes_sizes_that_are_halved_otherwise_than_those_of_the_trace(neck):
    levels = [Level(f"C{i + 2}", 3, 2**i) for i in range(3)]
    network = RoundedDown(randomize(neck(levels, channels=4))).eval()
    dynamic = torch.export.Dim.DYNAMIC
    with torch.fx.experimental._config.patch(backed_size_oblivious=True):
        program = torch.export.export(
            network, (torch.zeros(2, 3, 32, 48),), dynamic_shapes=({2: dynamic, 3: dynamic},), strict=False
        )
    images = torch.randn(2, 3, 23, 31)
    for found, expected in zip(program.module()(images), network(images), strict=True):
        torch.testing.assert_close(found, expected)

import copy
from fnmatch import fnmatch

import pytest
import torch
from torch import nn

from vertebra.backbones import BackboneOptions, ResNet, create_backbone, list_backbones, register
from vertebra.backbones.blocks import BasicBlock, Bottleneck
from vertebra.backbones.layers import FrozenBatchNorm

SIZE = (9, 65, 49)  # frames, height, width: odd, so that a wrong rounding shows
WIDTHS = (8, 16, 24, 32)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def tiny(block=BasicBlock, dim=2, **options):
    return ResNet(block, (1, 1, 1, 1), BackboneOptions(**options), dim=dim, widths=WIDTHS)


def batch(body, in_channels=3, **where):
    """An input with the axes of the network's levels."""
    axes = SIZE[1:] if isinstance(body.levels[0].reduction, int) else SIZE
    return torch.randn(2, in_channels, *axes, **where)


def assert_levels_are_true(body, images):
    features = body(images)
    assert list(features) == [level.name for level in body.levels]
    for level in body.levels:
        axes = images.shape[2:]
        reduction = (level.reduction,) * len(axes) if isinstance(level.reduction, int) else level.reduction
        size = tuple(-(-axis // r) for axis, r in zip(axes, reduction, strict=True))
        assert features[level.name].shape == (2, level.channels, *size)


# timm's DenseNets are the only registered networks that drop the last row and column of an odd size: test_timm_bridge
ROUNDING_UP = [name for name in list_backbones() if not name.startswith("densenet")]
# deeper or wider networks of a family that has others, tenths of a second to seconds even on the meta device
HUGE = ("*1202*", "*1001", "resnetrs[234]*", "*200*", "*269*", "*152*", "*101*", "*110*", "*_164", "vit_large*")
ROUNDING_UP = [
    pytest.param(name, marks=pytest.mark.slow) if any(fnmatch(name, huge) for huge in HUGE) else name
    for name in ROUNDING_UP
]


@pytest.mark.parametrize("name", ROUNDING_UP)
def test_levels_have_the_true_shapes(name):
    with torch.device("meta"):  # shapes are free on the meta device, so that every registered network is tested
        body = create_backbone(name, in_channels=5).eval()  # statistics of batches take most of the time
    assert [level.name for level in body.levels] == ["C2", "C3", "C4", "C5"][: len(body.levels)]
    assert_levels_are_true(body, batch(body, in_channels=5, device="meta"))


@pytest.mark.parametrize("in_channels", [1, 5])
@pytest.mark.parametrize("dim", [2, 3])
def test_any_number_of_input_channels(dim, in_channels):
    body = tiny(dim=dim, in_channels=in_channels)
    assert_levels_are_true(body, batch(body, in_channels))


@pytest.mark.parametrize("output_stride", [32, 16, 8])
@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
@pytest.mark.parametrize("dim", [2, 3])
def test_output_stride_bounds_the_reductions(block, dim, output_stride):
    body = tiny(block, dim, output_stride=output_stride)
    reductions = [min(reduction, output_stride) for reduction in (4, 8, 16, 32)]
    assert [level.reduction for level in body.levels] == (reductions if dim == 2 else [(r,) * 3 for r in reductions])
    assert [level.channels for level in body.levels] == [width * block.expansion for width in WIDTHS]
    assert_levels_are_true(body, batch(body))


def test_dilation_keeps_the_pixels_of_the_strided_network():
    strided, dilated = tiny(Bottleneck).eval(), tiny(Bottleneck, output_stride=8).eval()
    dilated.load_state_dict(strided.state_dict())
    images = torch.randn(1, 3, 65, 65)
    coarse, fine = strided(images)["C5"], dilated(images)["C5"]
    torch.testing.assert_close(fine[:, :, ::4, ::4], coarse, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("wanted", [("C2",), ("C5",), ("C3", "C4"), ("C4", "C2")])
def test_out_levels_select_maps(wanted):
    whole, part = tiny().eval(), tiny(out_levels=wanted).eval()
    part.load_state_dict(whole.state_dict())
    images = batch(whole)
    expected, features = whole(images), part(images)
    assert list(features) == sorted(wanted) == [level.name for level in part.levels]  # fine to coarse
    for name, x in features.items():
        assert torch.equal(x, expected[name])


def test_a_batch_equals_its_single_images():
    body = tiny().eval()
    images = batch(body)
    together = body(images)
    for index in range(len(images)):
        for name, x in body(images[index : index + 1]).items():
            torch.testing.assert_close(together[name][index], x[0], rtol=1e-5, atol=1e-5)


def test_single_frame_with_flat_kernels_equals_2d():
    flat, deep = tiny().eval(), tiny(dim=3).eval()
    state = deep.state_dict()
    for key, value in flat.state_dict().items():
        if value.dim() == 4:  # the middle slice of the kernel sees the frame, the others padding
            state[key].zero_()[:, :, state[key].shape[2] // 2] = value
        else:
            state[key].copy_(value)
    images = batch(flat)
    volumes = deep(images[:, :, None])
    for name, x in flat(images).items():
        torch.testing.assert_close(volumes[name][:, :, 0], x, rtol=1e-5, atol=1e-5)


PARTS = ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4")


@pytest.mark.parametrize("frozen_stages", [0, 1, 2, 5])
@pytest.mark.parametrize("copied", [False, True])
def test_frozen_stages_get_no_gradient_and_keep_their_statistics(frozen_stages, copied):
    body = tiny(frozen_stages=frozen_stages)
    if copied:
        body = copy.deepcopy(body)
    body.eval()
    body.train()
    before = {key: value.clone() for key, value in body.state_dict().items()}
    features = body(batch(body) + 2)
    assert features["C5"].requires_grad == (frozen_stages < 5)
    if frozen_stages < 5:
        features["C5"].sum().backward()

    frozen = PARTS[: frozen_stages + 1] if frozen_stages else ()
    for key, parameter in body.named_parameters():
        assert (parameter.grad is None) == (key.split(".")[0] in frozen), key
    for key, value in body.state_dict().items():
        if "running_" in key:
            assert torch.equal(value, before[key]) == (key.split(".")[0] in frozen), key
    assert body.training


@pytest.mark.parametrize(
    ("norm", "kind"),
    [("batch", nn.BatchNorm2d), ("frozen", FrozenBatchNorm), ("sync", nn.SyncBatchNorm), ("group", nn.GroupNorm)],
)
def test_norm_option_sets_every_norm(norm, kind):
    body = tiny(Bottleneck, norm=norm)
    kinds = [
        type(m)
        for m in body.modules()
        if isinstance(m, nn.modules.batchnorm._NormBase | FrozenBatchNorm | nn.GroupNorm)
    ]
    assert kinds == [kind] * (1 + 4 * 4)  # the stem's, and in each block three and the shortcut's
    assert all(x.isfinite().all() for x in body(batch(body)).values())


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
@pytest.mark.parametrize("norm", ["batch", "frozen", "group"])
def test_zero_init_blocks_start_as_shortcuts(block, norm):
    body = ResNet(block, (2, 1, 1, 1), BackboneOptions(norm=norm, zero_init=True), widths=WIDTHS).eval()
    x = torch.rand(1, WIDTHS[0] * block.expansion, 5, 5)
    assert torch.equal(body.layer1[1](x), x)
    plain = ResNet(block, (2, 1, 1, 1), BackboneOptions(norm=norm), widths=WIDTHS).eval()
    assert not torch.equal(plain.layer1[1](x), x)


def test_unknown_name_lists_close_matches():
    with pytest.raises(ValueError, match=r"unknown backbone 'resnet5'; close names: .*resnet50.*vertebra backbones"):
        create_backbone("resnet5")
    with pytest.raises(ValueError, match=r"unknown backbone 'qqq'\. All"):
        create_backbone("qqq")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"out_levels": ("C3", "C6")}, r"\['C3', 'C6'\].*C2, C3, C4, C5"),
        ({"out_levels": ()}, r"out_levels is \[\]"),
        ({"output_stride": 64}, "output_stride is 64; choose 8, 16 or 32"),
        ({"frozen_stages": 6}, "frozen_stages is 6"),
        ({"in_channels": 0}, "in_channels is 0"),
        ({"norm": "layer"}, "norm is 'layer'; choose batch, frozen, sync or group"),
    ],
)
def test_invalid_options_raise_with_choices(options, message):
    with pytest.raises(ValueError, match=message):
        create_backbone("resnet18", **options)


def test_duplicate_registration_raises():
    def resnet18(options):
        raise AssertionError("never built")

    with pytest.raises(ValueError, match="'resnet18' is registered already"):
        register(resnet18)


def test_listing_matches_shell_patterns():
    assert list_backbones("resnet[135][48]") == ["resnet18", "resnet34"]
    assert list_backbones("nothing*") == []
    assert list_backbones() == sorted(list_backbones())

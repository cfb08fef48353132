from functools import partial

import pytest
import torch

from vertebra.backbones import BackboneOptions, ResNet, create_backbone
from vertebra.backbones.blocks import BasicBlock, Bottleneck
from vertebra.backbones.convolutions import spatial_conv
from vertebra.backbones.resnet_clips import (
    NO_TEMPORAL_STRIDE,
    ONE_TEMPORAL_STRIDE,
    factored_block,
    flat_block,
    inflated_block,
    slow_block,
)
from vertebra.backbones.stems import clip_stem
from vertebra.backbones.x3d import X3DBlock, x3d_stem

WIDTHS = (8, 16, 24, 32)
STEM = partial(clip_stem, frames=1)
ONLY_IMAGES = [
    (partial(BasicBlock, convolution=spatial_conv), BasicBlock),
    (partial(Bottleneck, entry=spatial_conv, convolution=spatial_conv), Bottleneck),
    (flat_block, Bottleneck),
]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def tiny(block, strides=NO_TEMPORAL_STRIDE, stem=STEM, **options):
    return ResNet(
        block, (2, 2, 2, 2), BackboneOptions(**options), dim=3, stem=stem, widths=WIDTHS, strides=strides
    ).eval()


@pytest.mark.parametrize(("block", "flat"), ONLY_IMAGES)
@pytest.mark.parametrize("output_stride", [32, 8])
def test_without_temporal_kernels_frames_equal_images(block, flat, output_stride):
    clips = torch.randn(2, 3, 3, 65, 49)
    deep = tiny(block, output_stride=output_stride)
    images = ResNet(flat, (2, 2, 2, 2), BackboneOptions(output_stride=output_stride), widths=WIDTHS).eval()
    images.load_state_dict({k: v.squeeze(2) if v.dim() == 5 else v for k, v in deep.state_dict().items()})
    features = deep(clips)
    for t in range(clips.shape[2]):
        for name, x in images(clips[:, :, t]).items():
            torch.testing.assert_close(features[name][:, :, t], x, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("block", [inflated_block, slow_block, factored_block, X3DBlock])
def test_with_temporal_kernels_frame_order_matters(block):
    body, clips = tiny(block), torch.randn(1, 3, 4, 33, 33)
    forth, back = body(clips)["C5"], body(clips.flip(2))["C5"].flip(2)
    assert not torch.allclose(forth, back, atol=1e-3)


@pytest.mark.parametrize("frames", [1, 5])
def test_pooling_keeps_the_last_of_an_odd_number_of_frames(frames):
    body, odd = tiny(flat_block, ONE_TEMPORAL_STRIDE, out_levels=("C3",)), torch.randn(1, 3, frames, 33, 33)
    even = torch.cat([odd, odd[:, :, -1:]], dim=2)
    torch.testing.assert_close(body(odd)["C3"], body(even)["C3"])


@pytest.mark.parametrize(
    ("block", "strides", "stem"),
    [
        (inflated_block, ONE_TEMPORAL_STRIDE, clip_stem),
        (slow_block, NO_TEMPORAL_STRIDE, STEM),
        (factored_block, ((1, 2, 2), (1, 2, 2), 2, 2), partial(clip_stem, pooled=False)),
        (X3DBlock, NO_TEMPORAL_STRIDE, x3d_stem),
    ],
)
@pytest.mark.parametrize("output_stride", [32, 16, 8])
def test_levels_have_the_true_shapes_at_every_output_stride(block, strides, stem, output_stride):
    body = tiny(block, strides, stem, output_stride=output_stride)
    features = body(torch.randn(1, 3, 9, 65, 49))
    assert body.levels[-1].reduction[1:] == (min(output_stride, 2 * body.levels[-2].reduction[1]),) * 2
    for level in body.levels:
        size = tuple(-(-axis // r) for axis, r in zip((9, 65, 49), level.reduction, strict=True))
        assert features[level.name].shape == (1, level.channels, *size)


@pytest.mark.parametrize("block", [inflated_block, factored_block, X3DBlock])
def test_a_batch_equals_its_single_clips(block):
    body, clips = tiny(block, ONE_TEMPORAL_STRIDE), torch.randn(2, 3, 4, 33, 33)
    together = body(clips)
    for index in range(2):
        for name, x in body(clips[index : index + 1]).items():
            torch.testing.assert_close(together[name][index], x[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("block", [slow_block, factored_block, X3DBlock])
def test_zero_init_blocks_start_as_shortcuts(block):
    body = tiny(block, zero_init=True)
    x = torch.rand(1, body.levels[0].channels, 3, 5, 5)
    assert torch.equal(body.layer1[1](x), x)


@pytest.mark.parametrize("name", ["r2plus1d_18", "slow_r50", "csn_r101", "x3d_s", "slowfast_r50"])
@pytest.mark.parametrize("norm", ["frozen", "group", "sync"])
def test_norm_option_sets_every_norm(name, norm):
    with torch.device("meta"):
        body = create_backbone(name, norm=norm)
        assert body(torch.randn(1, 3, 8, 33, 33))["C5"].shape[0] == 1
    kinds = {type(module).__name__ for module in body.modules() if "Norm" in type(module).__name__}
    assert kinds == {{"frozen": "FrozenBatchNorm", "group": "GroupNorm", "sync": "SyncBatchNorm"}[norm]}


@pytest.mark.parametrize("block", [inflated_block, factored_block, X3DBlock])
def test_checkpointing_changes_no_gradient(block):
    clips = torch.randn(2, 3, 4, 33, 33)
    plain, saving = (
        tiny(block, ONE_TEMPORAL_STRIDE).train(),
        tiny(block, ONE_TEMPORAL_STRIDE, checkpointing=True).train(),
    )
    saving.load_state_dict(plain.state_dict())
    for body in (plain, saving):
        body(clips)["C5"].square().sum().backward()
    for (key, ours), theirs in zip(saving.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-4, msg=key)
    for (key, ours), theirs in zip(saving.named_buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, msg=key)

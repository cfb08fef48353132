"""Every 2-D backbone in every segmentation network, and what the networks have in common."""

import pytest
import segmentation_models_pytorch as smp
import torch
from torch import nn

from vertebra.backbones import create_backbone
from vertebra.tasks.segmentation import (
    deeplabv3,
    deeplabv3plus,
    fcn,
    fcn_scores,
    pspnet,
    semantic_fpn,
    unet,
    upernet,
)
from vertebra.tasks.segmentation.layers import PooledBatchNorm, PooledSyncBatchNorm, bin_means, resized

NARROW = {
    "deeplabv3": (deeplabv3, {"channels": 8}),
    "deeplabv3plus": (deeplabv3plus, {"channels": 8}),
    "fcn": (fcn, {}),
    "fcn_scores": (fcn_scores, {}),
    "pspnet": (pspnet, {"channels": 8}),
    "semantic_fpn": (semantic_fpn, {"channels": 8}),
    "unet": (unet, {}),
    "upernet": (upernet, {"channels": 8}),
}
SIZE = (64, 50)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def assert_one_step_trains(network, num_images=2):
    network.train()
    images, target = torch.randn(num_images, 3, *SIZE), torch.randint(3, (num_images, *SIZE))
    logits = network.all_logits(images)
    losses = [nn.functional.cross_entropy(x, target) for x in logits if x is not None]
    assert all(x.shape == (num_images, 3, *SIZE) for x in logits if x is not None)
    torch.stack(losses).sum().backward()
    parts = [network.decoder, network.head, *([] if network.aux is None else [network.aux])]
    without = [
        name
        for part in parts
        for name, parameter in part.named_parameters()
        if parameter.grad is None or not parameter.grad.isfinite().all()
    ]
    assert without == []
    assert any(parameter.grad is not None for parameter in network.backbone.parameters())


def test_every_backbone_trains_in_a_segmenter(image_backbone):
    body = create_backbone(image_backbone)
    for name in ("deeplabv3plus", "unet"):  # a map at one level, and at all of them
        build, options = NARROW[name]
        assert_one_step_trains(build(body, 3, aux=True, **options))


@pytest.mark.slow
def test_every_backbone_trains_in_every_segmenter(image_backbone):
    body = create_backbone(image_backbone)
    for build, options in NARROW.values():
        assert_one_step_trains(build(body, 3, aux=True, **options))


@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize("name", NARROW)
def test_every_network_trains_with_any_norm_and_without_aux_head(name, norm):
    build, options = NARROW[name]
    network = build("resnet18", 3, norm=norm, **options)
    assert network.aux is None
    assert_one_step_trains(network)


@pytest.mark.parametrize("name", ["deeplabv3", "deeplabv3plus", "pspnet", "upernet"])
def test_global_pooling_trains_on_a_batch_of_one(name):
    build, options = NARROW[name]
    network = build("resnet18", 3, **options)
    assert_one_step_trains(network, num_images=1)
    pooled = [module for module in network.modules() if isinstance(module, PooledBatchNorm)]
    assert len(pooled) == (1 if name.startswith("deep") else 4)
    # one value a channel tells nothing of its spread, and is not counted
    assert not pooled[0].running_mean.any()
    assert_one_step_trains(network, num_images=2)
    assert pooled[0].running_mean.any()


def test_global_pooling_with_sync_norm_trains_on_a_batch_of_one():
    network = pspnet("resnet18", 3, channels=8, norm="sync")
    (norm, *others) = [module for module in network.modules() if isinstance(module, PooledSyncBatchNorm)]
    assert len(others) == 3
    x = torch.full((1, norm.num_features, 1, 1), 2.0, requires_grad=True)
    y = norm(x)
    torch.testing.assert_close(y, x, atol=1e-4, rtol=0)  # its statistics are still 0 and 1
    y.sum().backward()
    assert x.grad.all()


@pytest.mark.parametrize("name", NARROW)
def test_a_batch_equals_its_images_and_any_size_is_kept(name):
    build, options = NARROW[name]
    network = build("resnet20", 4, **options).eval()
    images = torch.randn(2, 3, 33, 47)
    with torch.inference_mode():
        together = network(images)
        apart = torch.cat([network(image[None]) for image in images])
    assert together.shape == (2, 4, 33, 47)
    torch.testing.assert_close(together, apart, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("stride", "rates"), [(8, [12, 24, 36]), (16, [6, 12, 18]), (32, [3, 6, 9])])
def test_dilations_follow_the_output_stride(stride, rates):
    network = deeplabv3("resnet18", 3, output_stride=stride)
    assert network.backbone.levels[-1].reduction == stride
    convolutions = [m for m in network.decoder.aspp.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert [m.dilation[0] for m in convolutions] == rates


@pytest.mark.parametrize(("num_levels", "side"), [(1, 2), (2, 4), (3, 8)])
def test_fcn_scores_are_added_at_32_16_and_8(num_levels, side):
    network = fcn_scores("resnet18", 3, num_levels=num_levels).eval()
    features = network.backbone(torch.randn(1, 3, 64, 64))
    assert network.decoder(features).shape == (1, 3, side, side)


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_parameter_counts_equal_the_reference_implementations():
    names = ("DeepLabV3Plus", "DeepLabV3", "UPerNet")
    with torch.device("meta"):
        ours = [count(build("resnet50", 21)) for build in (deeplabv3plus, deeplabv3, upernet)]
        theirs = [count(getattr(smp, name)("resnet50", encoder_weights=None, classes=21)) for name in names]
    ours[2] += 2 * (256 + 512 + 1024 + 2048)  # theirs norms the backbone's maps once more before it decodes them
    assert dict(zip(names, ours, strict=True)) == dict(zip(names, theirs, strict=True))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: deeplabv3("r3d_18", 3, output_stride=32), "2-D backbone"),
        (lambda: unet("resnet18", 0), "num_classes is 0"),
        (lambda: fcn_scores("resnet18", 3, num_levels=9), r"num_levels is 9; expected 1 .* to 4"),
        (lambda: fcn_scores("resnet18", 3, num_levels=0), "num_levels is 0"),
        (lambda: unet("resnet18", 256), "num_classes is 256"),
    ],
)
def test_invalid_networks_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(("size", "bins"), [((7, 5), 3), ((6, 12), 6), ((2, 1), 3)])
def test_means_of_bins_are_adaptive_average_pooling(size, bins):
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    rows, columns = (bin_means(length, bins, x) for length in size)
    torch.testing.assert_close(rows @ x @ columns.T, nn.functional.adaptive_avg_pool2d(x, bins))


class PooledAndResized(nn.Module):
    def forward(self, images, like):
        pooled = images.mean(dim=(2, 3), keepdim=True)
        same = resized(images + 1, images.shape[2:])
        return resized(images, like.shape[2:]), resized(pooled, like.shape[2:]), same


def test_an_exported_resize_takes_sizes_that_the_trace_did_not_resize():
    free = {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    with torch.fx.experimental._config.patch(backed_size_oblivious=True):
        program = torch.export.export(
            PooledAndResized(), (torch.zeros(1, 3, 4, 6), torch.zeros(1, 3, 4, 6)), dynamic_shapes=(free, free)
        )
    assert sum("upsample" in str(node.target) for node in program.graph.nodes) == 1  # where sizes may differ
    for size, other in (((4, 6), (4, 6)), ((5, 5), (5, 5)), ((5, 5), (11, 7)), ((1, 1), (3, 3))):
        inputs = torch.randn(1, 3, *size), torch.randn(1, 3, *other)
        for found, expected in zip(program.module()(*inputs), PooledAndResized()(*inputs), strict=True):
            torch.testing.assert_close(found, expected)

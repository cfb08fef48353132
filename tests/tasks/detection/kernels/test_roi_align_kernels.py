"""RoIAlign in Triton kernels equals the plain version, forward and backward: in Triton's interpreter, and on a GPU."""

from importlib import import_module

import pytest
import torch

from vertebra.backbones import Level
from vertebra.tasks.detection.parts import roi_align
from vertebra.tasks.detection.parts.roi_align import RoIAlign

HEIGHT, WIDTH = 72, 88
LEVELS = (Level("P2", 6, 4), Level("P3", 6, 8))


def pyramid(channels, height=HEIGHT, width=WIDTH, levels=LEVELS):
    return {x.name: torch.randn(2, channels, height // x.reduction, width // x.reduction) for x in levels}


def boxes_of_every_kind(count, height=HEIGHT, width=WIDTH):
    """Boxes (2, count + 8, 4): random ones, beside the image, over its borders, as large as it, points, padding."""
    sizes = 2.0 ** (1 + 7 * torch.rand(2, count, 2))
    centers = torch.rand(2, count, 2) * torch.tensor([width, height])
    special = torch.tensor(
        [
            [0.0, 0.0, width, height],
            [-50.0, -20.0, 30.0, 40.0],
            [width - 10.0, height - 10.0, width + 60.0, height + 80.0],
            [width + 20.0, 5.0, width + 60.0, 30.0],
            [20.0, 20.0, 20.3, 20.2],
            [0.0, 0.0, 0.0, 0.0],
            [-900.0, 0.0, 900.0, 30.0],
            [0.0, 0.0, 31.0, 31.0],  # ends in a tile, and its last points have pixels of the next
        ]
    )
    boxes = torch.cat((centers - sizes / 2, centers + sizes / 2), dim=-1)
    return torch.cat((boxes, special.expand(2, -1, -1)), dim=1)


@pytest.fixture
def kernels():
    pytest.importorskip("triton")
    return import_module("vertebra.tasks.detection.kernels.roi_align")


@pytest.mark.parametrize(("channels", "size", "ratio"), [(6, 3, 2), (130, 2, 1), (3, 6, 1)])
def test_interpreted_kernels_equal_the_plain_version(interpreted, kernels, monkeypatch, channels, size, ratio):
    torch.manual_seed(0)
    boxes, pooler = boxes_of_every_kind(3), RoIAlign(LEVELS, size, ratio)
    features = {name: x.requires_grad_() for name, x in pyramid(channels).items()}
    expected = pooler(features, boxes)
    gradient = torch.randn_like(expected)
    gradients = torch.autograd.grad(expected, list(features.values()), gradient)
    calls = []

    def pool(maps, *boxes):
        calls.append(kernels.Boxes(*boxes))
        return interpreted("roi_align", "pool", calls[-1], maps)

    monkeypatch.setattr(roi_align, "triton_kernel", lambda *_: pool)
    with torch.no_grad():
        found = pooler({name: x.detach() for name, x in features.items()}, boxes)
        torch.testing.assert_close(found, expected.detach(), rtol=1e-5, atol=1e-5)
        # the same boxes in any order, each with its image
        order = torch.randperm(expected.shape[0])
        rows, images = boxes.flatten(0, 1)[order], order // boxes.shape[1]
        found = pooler({name: x.detach() for name, x in features.items()}, rows, images)
        torch.testing.assert_close(found, expected.detach()[order], rtol=1e-5, atol=1e-5)
    of_bins = gradient.permute(0, 2, 3, 1).flatten(1, 2)
    shapes = [x.shape for x in features.values()]
    for of_boxes, inputs in zip((of_bins.contiguous(), of_bins[order]), calls, strict=True):
        collected = interpreted("roi_align", "collect", of_boxes, inputs, shapes)
        torch.testing.assert_close(collected, list(gradients), rtol=1e-5, atol=1e-4)


def test_no_box_and_no_gradient(interpreted, kernels):
    nothing = torch.zeros(0, dtype=torch.int64)
    boxes = kernels.Boxes(torch.zeros(0, 4), nothing, nothing, None, [0.25, 0.5], 3, 2)
    maps = [torch.zeros(2, 5, 4, 4), torch.zeros(2, 5, 2, 2)]
    assert interpreted("roi_align", "pool", boxes, maps).shape == (0, 9, 5)
    no_gradient, zeros = interpreted("roi_align", "collect", torch.zeros(0, 9, 5), boxes, [None, (2, 5, 4, 4)])
    assert no_gradient is None
    assert torch.equal(zeros, torch.zeros(2, 5, 4, 4))


@pytest.mark.gpu
@pytest.mark.parametrize(("channels", "size", "ratio"), [(256, 7, 2), (256, 14, 2), (20, 2, 1), (130, 3, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("ordered", [True, False])
def test_compiled_kernels_equal_the_plain_version(monkeypatch, channels, size, ratio, dtype, ordered):
    torch.manual_seed(0)
    levels = tuple(Level(f"P{i}", 6, 2**i) for i in range(2, 6))
    boxes, pooler = boxes_of_every_kind(120, 480, 512).cuda(), RoIAlign(levels, size, ratio)
    features = {name: x.cuda().to(dtype).requires_grad_() for name, x in pyramid(channels, 480, 512, levels).items()}
    images = None
    if not ordered:
        images = torch.randint(2, (boxes.shape[0] * boxes.shape[1],), device="cuda")
        boxes = boxes.flatten(0, 1)
    assert roi_align.triton_kernel("roi_align", boxes.device) is not None

    def values_and_gradients(features):
        pooled = pooler(features, boxes, images)
        gradient = torch.randn(pooled.shape, device="cuda", generator=torch.Generator("cuda").manual_seed(0))
        return pooled.detach(), torch.autograd.grad(pooled, list(features.values()), gradient.to(pooled.dtype))

    found, again = values_and_gradients(features), values_and_gradients(features)
    assert torch.equal(found[0], again[0])
    assert all(torch.equal(x, y) for x, y in zip(found[1], again[1], strict=True))
    monkeypatch.setattr(roi_align, "triton_kernel", lambda *_: None)
    expected = values_and_gradients({name: x.detach().float().requires_grad_() for name, x in features.items()})
    rtol, atol = (1e-4, 1e-4) if dtype == torch.float32 else (2e-2, 5e-2)
    torch.testing.assert_close(found[0].float(), expected[0], rtol=rtol, atol=atol)
    for x, y in zip(found[1], expected[1], strict=True):
        torch.testing.assert_close(x.float(), y, rtol=rtol, atol=atol)


@pytest.mark.gpu
def test_compiled_kernels_are_faster(monkeypatch, gpu_time):
    torch.manual_seed(0)
    levels = tuple(Level(f"P{i}", 256, 2**i) for i in range(2, 6))
    features = {
        level.name: torch.randn(16, 256, 800 // level.reduction, 1344 // level.reduction, device="cuda")
        .bfloat16()
        .contiguous(memory_format=torch.channels_last)
        .requires_grad_()
        for level in levels
    }
    boxes, pooler = boxes_of_every_kind(504, 800, 1344).repeat(8, 1, 1).cuda(), RoIAlign(levels)
    gradient = torch.randn_like(pooler(features, boxes))

    def times():
        with torch.no_grad():
            forward = gpu_time(lambda: pooler(features, boxes))
        both = gpu_time(lambda: torch.autograd.grad(pooler(features, boxes), list(features.values()), gradient))
        return forward, both - forward

    ours = times()
    monkeypatch.setattr(roi_align, "triton_kernel", lambda *_: None)
    plain = times()
    figures = "{:.2f} and {:.2f} ms, plain {:.2f} and {:.2f}".format(*ours, *plain)
    print(f"RoIAlign of 16 x 512 boxes, forward and backward: {figures}")
    assert ours[0] < plain[0]
    assert ours[1] < plain[1]

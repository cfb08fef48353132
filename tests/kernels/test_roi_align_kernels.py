"""RoIAlign in a Triton kernel equals the plain version: in Triton's interpreter, and on a GPU."""

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


@pytest.mark.parametrize(
    ("channels", "size", "ratio"), [(6, 3, 2), (130, 2, 1), pytest.param(3, 6, 1, marks=pytest.mark.slow)]
)
def test_the_interpreted_kernel_equals_the_plain_version(interpreted, monkeypatch, channels, size, ratio):
    torch.manual_seed(0)
    boxes, pooler, features = boxes_of_every_kind(1), RoIAlign(LEVELS, size, ratio), pyramid(channels)
    expected = pooler(features, boxes)
    # where gradients are recorded the plain version stays
    with_gradients = {name: x.clone().requires_grad_() for name, x in features.items()}
    monkeypatch.setattr(
        roi_align, "triton_kernel", lambda name, device: lambda *inputs: interpreted(name, "run", *inputs)
    )
    assert pooler(with_gradients, boxes).requires_grad
    torch.testing.assert_close(pooler(features, boxes), expected, rtol=1e-5, atol=1e-5)
    # boxes in any order, each with its image
    order = torch.randperm(expected.shape[0])[: boxes.shape[1]]
    found = pooler(features, boxes.flatten(0, 1)[order], order // boxes.shape[1])
    torch.testing.assert_close(found, expected[order], rtol=1e-5, atol=1e-5)
    assert pooler(features, boxes[:, :0]).shape == (0, channels, size, size)
    # one image, whose index is one number for all boxes
    first = {name: x[:1] for name, x in features.items()}
    torch.testing.assert_close(pooler(first, boxes[:1]), expected[: boxes.shape[1]], rtol=1e-5, atol=1e-5)


def test_the_kernel_takes_boxes_levels_and_images_that_are_views(interpreted):
    torch.manual_seed(0)
    pooler, maps = RoIAlign(LEVELS, 2, 1), list(pyramid(3).values())
    boxes = boxes_of_every_kind(3).flatten(0, 1)
    levels, images = pooler.assign(boxes), torch.arange(2).repeat_interleave(11)
    scales = [1 / level.reduction for level in LEVELS]
    expected = interpreted(
        "vertebra.tasks.detection.kernels.roi_align", "run", maps, boxes, levels, images, scales, 2, 1
    )
    views = (
        boxes.T.contiguous().T,
        torch.stack((levels, levels + 7), dim=1)[:, 0],
        torch.stack((images, images + 7), dim=1)[:, 0],
    )
    assert not any(view.is_contiguous() for view in views)
    assert torch.equal(interpreted(roi_align._KERNEL, "run", maps, *views, scales, 2, 1), expected)


@pytest.mark.gpu
@pytest.mark.parametrize(("channels", "size", "ratio"), [(256, 7, 2), (256, 14, 2), (20, 2, 1), (130, 3, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("ordered", [True, False])
def test_the_compiled_kernel_equals_the_plain_version(monkeypatch, channels, size, ratio, dtype, ordered):
    torch.manual_seed(0)
    levels = tuple(Level(f"P{i}", 6, 2**i) for i in range(2, 6))
    boxes, pooler = boxes_of_every_kind(120, 480, 512).cuda(), RoIAlign(levels, size, ratio)
    features = {name: x.cuda().to(dtype) for name, x in pyramid(channels, 480, 512, levels).items()}
    images = None
    if not ordered:
        images = torch.randint(2, (boxes.shape[0] * boxes.shape[1],), device="cuda")
        boxes = boxes.flatten(0, 1)
    assert roi_align.triton_kernel(roi_align._KERNEL, boxes.device) is not None
    found = pooler(features, boxes, images)
    assert torch.equal(found, pooler(features, boxes, images))
    if ordered:  # a batch of one
        first = {name: x[:1] for name, x in features.items()}
        assert torch.equal(pooler(first, boxes[:1]), found[: boxes.shape[1]])
    monkeypatch.setattr(roi_align, "triton_kernel", lambda *_: None)
    expected = pooler({name: x.float() for name, x in features.items()}, boxes, images)
    rtol, atol = (1e-4, 1e-4) if dtype == torch.float32 else (2e-2, 5e-2)
    torch.testing.assert_close(found.float(), expected, rtol=rtol, atol=atol)


@pytest.mark.gpu
def test_the_compiled_kernel_is_faster(monkeypatch, gpu_time):
    torch.manual_seed(0)
    levels = tuple(Level(f"P{i}", 256, 2**i) for i in range(2, 6))
    features = {
        level.name: torch.randn(16, 256, 800 // level.reduction, 1344 // level.reduction, device="cuda")
        .bfloat16()
        .contiguous(memory_format=torch.channels_last)
        for level in levels
    }
    boxes, pooler = boxes_of_every_kind(504, 800, 1344).repeat(8, 1, 1).cuda(), RoIAlign(levels)
    ours = gpu_time(lambda: pooler(features, boxes))
    monkeypatch.setattr(roi_align, "triton_kernel", lambda *_: None)
    plain = gpu_time(lambda: pooler(features, boxes))
    print(f"RoIAlign of 16 x 512 boxes: {ours:.2f} ms, plain {plain:.2f}")
    assert ours < plain

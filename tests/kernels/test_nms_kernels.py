"""Non-maximum suppression in Triton kernels equals the plain version: in Triton's interpreter, and on a GPU."""

import pytest
import torch

from vertebra.tasks.detection.parts import nms
from vertebra.tasks.detection.parts.nms import fixed_shape_nms_mask


def crowd(*shape, spread=20):
    """Boxes of 60 to 80 pixels, the closer to each other the smaller the spread."""
    corner, size = spread * torch.rand(*shape, 2), 60 + 20 * torch.rand(*shape, 2)
    return torch.cat((corner, corner + size), dim=-1)


def nasty(count):
    """Five groups (5, count, 4): padding, each box twice, boxes without width or inside out, whole pixels, NaN."""
    boxes = crowd(5, count)
    boxes[0, ::5] = 0.0
    boxes[1, 1::2] = boxes[1, : count // 2].clone()
    boxes[2, ::3, 2] = boxes[2, ::3, 0]
    boxes[2, 1::3, 3] = 0.0
    boxes[3] = boxes[3].div(20).round()  # overlaps that equal the threshold
    boxes[4, 2::7, 1] = torch.nan
    return boxes


# one test: the interpreter's process, which takes seconds to start, is that of one test process
def test_interpreted_kernels_equal_the_plain_version(interpreted, monkeypatch):
    for count in (0, 1, 64, 130):
        torch.manual_seed(count)
        boxes = torch.cat((nasty(count), crowd(1, count, spread=300)))
        expected = fixed_shape_nms_mask(boxes, 0.5)
        assert count < 2 or 0 < expected.sum() < expected.numel()
        with monkeypatch.context() as patch:
            patch.setattr(nms, "triton_kernel", lambda name, device: lambda *inputs: interpreted(name, "run", *inputs))
            found = fixed_shape_nms_mask(boxes.view(2, 3, count, 4), 0.5)
        assert torch.equal(found, expected.view(2, 3, count)), count


def test_interpreted_kernels_suppress_within_groups_of_any_size(interpreted, monkeypatch):
    torch.manual_seed(0)
    boxes, groups = nasty(20)[:4].flatten(0, 1), torch.randint(7, (80,)).square() % 11
    scores = torch.rand(80).mul(10).round() / 10  # ties
    expected = nms.grouped_nms(boxes, scores, groups, 0.5)
    monkeypatch.setattr(nms, "triton_kernel", lambda name, device: lambda *inputs: interpreted(name, "run", *inputs))
    assert torch.equal(nms.grouped_nms(boxes, scores, groups, 0.5), expected)
    assert 7 < len(expected) < 80
    monkeypatch.setattr(nms, "MOST_PADDED", 1)  # too much padding
    assert torch.equal(nms.grouped_nms(boxes, scores, groups, 0.5), expected)


@pytest.mark.slow
def test_interpreted_kernels_sweep_many_words(interpreted):
    torch.manual_seed(0)
    boxes = crowd(1, 4200, spread=2000)  # 66 words, in a row of 128
    assert torch.equal(interpreted(nms._KERNEL, "run", boxes, 0.3), fixed_shape_nms_mask(boxes, 0.3))


@pytest.mark.gpu
@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 130, 2000, 20_000])
@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.7])
def test_compiled_kernels_equal_the_plain_version(monkeypatch, count, threshold):
    torch.manual_seed(count)
    boxes = torch.cat((nasty(count), crowd(1, count, spread=3000))).cuda()
    assert nms.triton_kernel(nms._KERNEL, boxes.device) is not None
    found = fixed_shape_nms_mask(boxes, threshold)
    monkeypatch.setattr(nms, "triton_kernel", lambda *_: None)
    assert torch.equal(found, fixed_shape_nms_mask(boxes, threshold))


@pytest.mark.gpu
def test_compiled_kernels_are_faster(monkeypatch, gpu_time):
    torch.manual_seed(0)
    boxes = crowd(80, 2000, spread=800).cuda()  # 16 images, 5 levels
    ours = gpu_time(lambda: fixed_shape_nms_mask(boxes, 0.7))
    monkeypatch.setattr(nms, "triton_kernel", lambda *_: None)
    plain = gpu_time(lambda: fixed_shape_nms_mask(boxes, 0.7))
    print(f"NMS of 80 x 2000 boxes: {ours:.2f} ms, plain {plain:.2f} ms")
    assert ours < 0.5 * plain

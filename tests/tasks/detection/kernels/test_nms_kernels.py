"""Non-maximum suppression in Triton kernels equals the plain version: in Triton's interpreter, and on a GPU."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
import torch

from vertebra.tasks.detection.parts import nms
from vertebra.tasks.detection.parts.nms import fixed_shape_nms_mask


@pytest.fixture(scope="module")
def interpreted():
    """The kernels in a process of their own, since triton decides on import whether it interprets or compiles."""
    pytest.importorskip("triton")
    from vertebra.tasks.detection.kernels.nms import suppress

    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TRITON_INTERPRET", "1")
            process.submit(suppress, torch.zeros(1, 1, 4), 0.5).result()
        yield lambda boxes, threshold: process.submit(suppress, boxes, threshold).result()


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


@pytest.mark.parametrize("count", [0, 1, 63, 64, 130])
def test_interpreted_kernels_equal_the_plain_version(interpreted, monkeypatch, count):
    torch.manual_seed(count)
    boxes = torch.cat((nasty(count), crowd(1, count, spread=300)))
    for threshold in (0.5, 0.7) if count == 64 else (0.5,):
        expected = fixed_shape_nms_mask(boxes, threshold)
        assert count < 2 or 0 < expected.sum() < expected.numel()
        with monkeypatch.context() as patch:
            patch.setattr(nms, "_kernels", lambda device: interpreted)
            assert torch.equal(fixed_shape_nms_mask(boxes, threshold), expected)
            grid = boxes.view(2, 3, count, 4)
            if count < 64:
                assert torch.equal(fixed_shape_nms_mask(grid, threshold), expected.view(2, 3, count))


@pytest.mark.slow
def test_interpreted_kernels_sweep_many_words(interpreted):
    torch.manual_seed(0)
    boxes = crowd(1, 4200, spread=2000)  # 66 words, in a row of 128
    assert torch.equal(interpreted(boxes, 0.3), fixed_shape_nms_mask(boxes, 0.3))


def test_a_failing_compiler_leaves_the_plain_version(monkeypatch):
    nms._kernels.cache_clear()
    monkeypatch.setattr(torch, "zeros", lambda *sizes, device: 1 / 0)
    with pytest.warns(UserWarning, match="Triton does not run on cuda:0 .*Install triton and a C compiler"):
        assert nms._kernels(torch.device("cuda:0")) is None
    nms._kernels.cache_clear()


@pytest.mark.gpu
@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 130, 2000, 20_000])
@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.7])
def test_compiled_kernels_equal_the_plain_version(count, threshold):
    torch.manual_seed(count)
    boxes = torch.cat((nasty(count), crowd(1, count, spread=3000))).cuda()
    assert nms._kernels(boxes.device) is not None
    found = fixed_shape_nms_mask(boxes, threshold)
    assert torch.equal(found, fixed_shape_nms_mask(boxes, threshold))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nms, "_kernels", lambda device: None)
        assert torch.equal(found, fixed_shape_nms_mask(boxes, threshold))

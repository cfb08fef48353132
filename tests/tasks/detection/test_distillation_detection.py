import pytest
import torch
import torch.nn.functional as F

from vertebra.tasks.detection.distillation import PyramidDistillation


def correlation(a, b):
    return torch.corrcoef(torch.stack([a.flatten(), b.flatten()]).double())[0, 1]


def test_the_loss_is_one_minus_the_correlation_of_each_channel():
    torch.manual_seed(0)
    student = {"P3": torch.randn(2, 3, 4, 5), "P4": torch.randn(2, 3, 2, 2)}
    teacher = {"P4": torch.randn(2, 3, 2, 2), "P3": 10 + 4 * torch.randn(2, 3, 4, 5), "P5": torch.randn(2, 3, 1, 1)}
    expected = sum(
        torch.stack([1 - correlation(student[name][:, c], teacher[name][:, c]) for c in range(3)]).mean()
        for name in ("P3", "P4")
    )
    loss = PyramidDistillation(weight=2.0)(student, teacher)
    torch.testing.assert_close(loss.double(), 2 * expected, atol=1e-5, rtol=1e-5)


def test_magnitude_and_offset_of_the_teacher_do_not_count():
    torch.manual_seed(0)
    maps = torch.randn(2, 3, 4, 4)
    assert PyramidDistillation()({"P3": maps}, {"P3": 100 * maps + 7}) < 1e-5
    assert PyramidDistillation(1.0)({"P3": maps}, {"P3": -maps}) == pytest.approx(2.0, abs=1e-4)
    constant = torch.ones(2, 3, 4, 4, requires_grad=True)
    PyramidDistillation()({"P3": constant}, {"P3": maps}).backward()
    assert constant.grad.isfinite().all()


def test_maps_of_another_size_are_resized_and_other_channels_refused():
    student, teacher = torch.randn(1, 2, 4, 4), torch.randn(1, 2, 8, 8)
    resized = F.interpolate(teacher, size=(4, 4), mode="bilinear", align_corners=False)
    assert PyramidDistillation()({"P3": student}, {"P3": teacher}) == PyramidDistillation()(
        {"P3": student}, {"P3": resized}
    )
    with pytest.raises(ValueError, match=r"P3 has 2 channels in the student and 3 in the teacher; .*channels 3"):
        PyramidDistillation()({"P3": student}, {"P3": torch.randn(1, 3, 4, 4)})
    with pytest.raises(ValueError, match="levels P3, and the teacher's P6"):
        PyramidDistillation()({"P3": student}, {"P6": teacher})

import math

import torch

from vertebra.tasks.segmentation.distillation import ChannelDistillation

T = 2.0


def test_the_loss_is_that_of_a_loop_over_images_classes_and_pixels():
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 3, 4, 5), 5 * torch.randn(2, 3, 4, 5)
    labeled = torch.rand(2, 4, 5) > 0.3
    total = 0.0
    for n in range(2):
        pixels = labeled[n].nonzero().tolist()
        for k in range(3):
            norms = [sum(math.exp(float(x[n, k, i, j]) / T) for i, j in pixels) for x in (student, teacher)]
            for i, j in pixels:
                p, q = (
                    math.exp(float(x[n, k, i, j]) / T) / norm for x, norm in zip((student, teacher), norms, strict=True)
                )
                total += q * math.log(q / p)
    loss = ChannelDistillation(T, weight=3.0)(student, teacher, labeled)
    torch.testing.assert_close(loss, torch.tensor(3.0 * T**2 * total / 6), rtol=1e-4, atol=1e-6)


def test_the_scale_of_pixels_without_labels_changes_nothing():
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 2, 3, 3).requires_grad_(), torch.randn(2, 2, 3, 3)
    labeled = torch.zeros(2, 3, 3, dtype=torch.bool)
    labeled[0, :2] = True  # the second image has none
    loss = ChannelDistillation(T)(student, teacher, labeled)
    loss.backward()
    assert loss.isfinite()
    assert (student.grad[0, :, :2] != 0).all()
    assert not student.grad[0, :, 2].any()
    assert not student.grad[1].any()
    changed = torch.where(labeled[:, None], teacher, 99.0)
    torch.testing.assert_close(ChannelDistillation(T)(student, changed, labeled), loss)

"""Channel-wise distillation of segmenters."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vertebra.tasks.training.distillation.logits import check_options


@dataclass(frozen=True)
class ChannelDistillation:
    """Divergence of the student's score maps from the teacher's, each normalized to a distribution over the pixels.

    T^2 * KL(p_teacher || p_student) in the mean over images and classes, where p is the softmax of a class's logits
    over the pixels of an image: it says where the class is, whatever the scale of its logits. Channel-wise Knowledge
    Distillation for Dense Prediction, Shu et al. 2021, https://arxiv.org/abs/2011.13256, with its temperature and
    weight for logits. Unlike there, the maps are compared at the size of the images, so that teacher and student may
    have different output strides, and pixels without a label, such as padding, are left out.

    Args:
        temperature: T, above 0.
        weight: of this loss, beside 1 for that of the labels.
    """

    temperature: float = 4.0
    weight: float = 3.0

    def __post_init__(self) -> None:
        check_options(self.temperature, self.weight)

    def __call__(self, student: Tensor, teacher: Tensor, labeled: Tensor) -> Tensor:
        """Return the loss in float32.

        Args:
            student: (N, K, H, W) logits.
            teacher: (N, K, H, W) logits.
            labeled: (N, H, W) bool; an image without any labeled pixel counts as 0.
        """
        left_out = ~labeled.flatten(1)[:, None]
        # not -inf, which gives NaN where all pixels of an image are left out
        student, teacher = (
            (x.float().flatten(2) / self.temperature).masked_fill(left_out, torch.finfo(torch.float32).min / 2)
            for x in (student, teacher)
        )
        loss = F.kl_div(student.log_softmax(2), teacher.log_softmax(2), reduction="sum", log_target=True)
        return self.weight * self.temperature**2 * loss / (student.shape[0] * student.shape[1])

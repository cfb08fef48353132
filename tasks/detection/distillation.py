"""Distillation of the pyramids of detectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vertebra.tasks.training.distillation.logits import check_options

_EPS = 1e-6  # of the variance: a channel may be constant, where the square root has no slope


@dataclass(frozen=True)
class PyramidDistillation:
    """Half the mean squared difference of the normalized pyramids of student and teacher, which is 1 - r.

    Each channel of each level is brought to mean 0 and standard deviation 1 over the batch, so that the loss is one
    minus its Pearson correlation r, in the mean over channels: relations are learned, not magnitudes, and the two may
    be detectors of different kinds. The levels are summed. PKD: General Distillation Framework for Object Detectors
    via Pearson Correlation Coefficient, Cao et al. 2022, https://arxiv.org/abs/2207.02039, with its weight.

    Args:
        weight: of this loss, beside those of the detector.
    """

    weight: float = 6.0

    def __post_init__(self) -> None:
        check_options(1.0, self.weight)

    def __call__(self, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> Tensor:
        """Return the loss in float32.

        Args:
            student: pyramid, each (N, C, H_l, W_l); its levels that the teacher has, too, are compared.
            teacher: pyramid; levels of another height and width are resized to the student's.

        Raises:
            ValueError: there is no common level, or the channels differ.
        """
        common = [name for name in student if name in teacher]
        if not common:
            raise ValueError(
                f"the student's pyramid has the levels {', '.join(student)}, and the teacher's {', '.join(teacher)}; "
                "distillation needs a common one. Choose another teacher."
            )
        losses = [_level_loss(student[name], teacher[name], name) for name in common]
        return self.weight * torch.stack(losses).sum()


def _level_loss(student: Tensor, teacher: Tensor, name: str) -> Tensor:
    if student.shape[1] != teacher.shape[1]:
        raise ValueError(
            f"level {name} has {student.shape[1]} channels in the student and {teacher.shape[1]} in the teacher; "
            "distillation needs equal ones. Build the student's neck with those of the teacher, such as "
            f"--model.network.channels {teacher.shape[1]}."
        )
    if student.shape[2:] != teacher.shape[2:]:
        teacher = F.interpolate(teacher, size=student.shape[2:], mode="bilinear", align_corners=False)
    return F.mse_loss(_normalized(student), _normalized(teacher)) / 2


def _normalized(maps: Tensor) -> Tensor:
    """Return maps (N, C, H, W) with mean 0 and standard deviation 1 in each channel, float32."""
    variance, mean = torch.var_mean(maps.float(), dim=(0, 2, 3), keepdim=True, correction=0)
    return (maps.float() - mean) * (variance + _EPS).rsqrt()

"""Distillation of logits, softened by a temperature."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class LogitDistillation:
    """Divergence of the student's softened probabilities from the teacher's.

    T^2 * KL(softmax(teacher / T) || softmax(student / T)) in the mean over samples, added to the loss of the labels:
    the factor keeps the size of its gradient when T changes. Distilling the Knowledge in a Neural Network, Hinton et
    al. 2015, https://arxiv.org/abs/1503.02531. With mixing, teacher and student are given the same mixed images
    (Knowledge distillation: A good teacher is patient and consistent, Beyer et al. 2021,
    https://arxiv.org/abs/2106.05237).

    Args:
        temperature: T, above 0; high ones show how similar the teacher finds the wrong classes.
        weight: of this loss, beside 1 for that of the labels.
    """

    temperature: float = 4.0
    weight: float = 1.0

    def __post_init__(self) -> None:
        check_options(self.temperature, self.weight)

    def __call__(self, student: Tensor, teacher: Tensor, exclusive: bool = True) -> Tensor:
        """Return the loss in float32.

        Args:
            student: (N, K) logits.
            teacher: (N, K) logits.
            exclusive: whether a sample has one class; otherwise each class has a probability of its own, and the
                divergences of these are summed.
        """
        T = self.temperature
        student, teacher = student.float() / T, teacher.float() / T
        if exclusive:
            student, teacher = student.log_softmax(1), teacher.log_softmax(1)
        else:  # each class beside its complement
            student, teacher = (F.logsigmoid(torch.cat([x, -x], dim=1)) for x in (student, teacher))
        return self.weight * T**2 * F.kl_div(student, teacher, reduction="batchmean", log_target=True)


def check_options(temperature: float, weight: float) -> None:
    """Refuse a temperature or a weight out of range.

    Raises:
        ValueError: one is.
    """
    if not 0 < temperature < float("inf"):
        raise ValueError(f"distillation.temperature is {temperature}; expected a number above 0, such as 4.")
    if not 0 <= weight < float("inf"):
        raise ValueError(f"distillation.weight is {weight}; it is the weight of a loss, 0 or more.")

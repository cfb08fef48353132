"""Mixup and CutMix of training batches."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import v2


@dataclass
class Mixing:
    """Mixup or CutMix of every training batch, chosen at random with equal probability if both are enabled.

    mixup: Beyond Empirical Risk Minimization, Zhang et al. 2017, https://arxiv.org/abs/1710.09412.
    CutMix: Regularization Strategy to Train Strong Classifiers, Yun et al. 2019, https://arxiv.org/abs/1905.04899.
    Both use torchvision's implementation.

    Args:
        mixup: alpha of the Beta distribution of mixup weights; 0 disables mixup.
        cutmix: alpha of the Beta distribution of CutMix areas; 0 disables CutMix.
    """

    mixup: float = 0.2
    cutmix: float = 1.0

    def __post_init__(self) -> None:
        if min(self.mixup, self.cutmix) < 0 or max(self.mixup, self.cutmix) == 0:
            raise ValueError(
                f"mixup is {self.mixup} and cutmix {self.cutmix}; expected 0 or more for both, and one above 0. To "
                "train without mixing, leave mixing out."
            )

    def __call__(self, images: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
        """Mix a batch.

        Args:
            images: (N, C, H, W) float.
            labels: (N,) int64 in 0..K-1.
            num_classes: number of classes K.

        Returns:
            Mixed images (N, C, H, W), and soft targets (N, K) float32 with rows that sum to 1.
        """
        methods = [method(alpha=alpha) for method, alpha in ((v2.MixUp, self.mixup), (v2.CutMix, self.cutmix)) if alpha]
        # drawn on the CPU, so that the host does not wait for the device
        method = methods[int(torch.randint(len(methods), ()))]
        return method(images, F.one_hot(labels, num_classes).float())

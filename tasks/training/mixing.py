"""Mixup and CutMix of training batches."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import v2


@dataclass
class Mixing:
    """Mix every training batch by mixup or CutMix, chosen at random where both are on.

    mixup: Beyond Empirical Risk Minimization, Zhang et al. 2017, https://arxiv.org/abs/1710.09412.
    CutMix, Yun et al. 2019, https://arxiv.org/abs/1905.04899. Both are torchvision's.

    Args:
        mixup: alpha of the Beta distribution of the mixing ratio; 0 for no mixup.
        cutmix: alpha of the Beta distribution of the area that is pasted in; 0 for no CutMix.
    """

    mixup: float = 0.2
    cutmix: float = 1.0

    def __post_init__(self) -> None:
        if min(self.mixup, self.cutmix) < 0 or max(self.mixup, self.cutmix) == 0:
            raise ValueError(
                f"mixup is {self.mixup} and cutmix {self.cutmix}; neither may be below 0, and one must be above. "
                "Leave mixing out to train on images as they are."
            )

    def __call__(self, images: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
        """Return the mixed batch.

        Args:
            images: (N, C, H, W) float.
            labels: (N,) int64 in 0..K-1.
            num_classes: K.

        Returns:
            (N, C, H, W), and (N, K) float32, the share of each class; a row sums to 1.
        """
        ways = [way(alpha=alpha) for way, alpha in ((v2.MixUp, self.mixup), (v2.CutMix, self.cutmix)) if alpha]
        way = ways[int(torch.randint(len(ways), ()))]
        return way(images, F.one_hot(labels, num_classes).float())

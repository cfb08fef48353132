"""Test-time views of an image, clip or volume, whose probabilities are averaged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2.functional import five_crop


@dataclass
class Views:
    """Show a network each image several times; flips and crops together are the ten views of AlexNet.

    ImageNet Classification with Deep Convolutional Neural Networks, Krizhevsky et al. 2012.

    Args:
        flip: whether to add the mirror image.
        crop: below 1, five crops (corners and center) replace the image, each this fraction of its height and width.
            The crops should have the size that the network was trained on: with crop 0.875 and
            `data.resize` `{size: [256, 256], crop: 1.0}` they are 224 pixels high.
    """

    flip: bool = True
    crop: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.crop <= 1:
            raise ValueError(f"crop is {self.crop}; it is a part of the height and width, above 0 and up to 1.")

    def __call__(self, network: Callable[[Tensor], Tensor], images: Tensor, exclusive: bool = True) -> Tensor:
        """Return logits (N, K) whose probabilities are the mean of those of all views.

        Args:
            network: (N, ..., H, W) to logits (N, K).
            images: images (N, C, H, W); or clips (N, C, T, H, W) and volumes (N, C, D, H, W), of which all frames and
                slices share the crop and the flip.
            exclusive: of exclusive classes, with a softmax; else a sigmoid per finding.
        """
        views = [images]
        if self.crop < 1:
            views = list(five_crop(images, [max(1, round(side * self.crop)) for side in images.shape[-2:]]))
        if self.flip:
            views += [view.flip(-1) for view in views]
        logits = torch.stack([network(view).float() for view in views])
        return mean_logits(logits.softmax(dim=2), dim=0) if exclusive else mean_finding_logits(logits, dim=0)


def mean_logits(probs: Tensor, dim: int) -> Tensor:
    """Return logits whose softmax is the mean of probabilities over one dimension: the logarithm of that mean."""
    return probs.mean(dim=dim).clamp(min=torch.finfo(torch.float32).tiny).log()


def mean_finding_logits(logits: Tensor, dim: int) -> Tensor:
    """Return logits whose sigmoid is the mean of the sigmoids of `logits` over one dimension."""
    # the odds of the mean, p / (1 - p), from two logarithms: in float32 a mean of 1 - 1e-8 is 1, with infinite odds
    return F.logsigmoid(logits).logsumexp(dim=dim) - F.logsigmoid(-logits).logsumexp(dim=dim)

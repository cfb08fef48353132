"""Test-time views of an image or clip, whose probabilities are averaged."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision.transforms.v2.functional import five_crop


@dataclass
class Views:
    """Show a network each image several times; flips and crops together are the ten views of AlexNet.

    ImageNet Classification with Deep Convolutional Neural Networks, Krizhevsky et al. 2012.

    Args:
        flip: also the mirror image.
        crop: below 1, the four corners and the middle of the image instead of the whole, each this part of its height
            and width. The crops should have the size that the network was trained on: with crop 0.875 and
            `data.resize` `{size: [256, 256], crop: 1.0}` they are 224 pixels high.
    """

    flip: bool = True
    crop: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.crop <= 1:
            raise ValueError(f"crop is {self.crop}; it is a part of the height and width, above 0 and up to 1.")

    def __call__(self, network: nn.Module, images: Tensor) -> Tensor:
        """Return logits (N, K) whose softmax is the mean of the probabilities of all views.

        Args:
            network: (N, C, ..., H, W) to logits (N, K).
            images: (N, C, H, W), or clips (N, C, T, H, W), of which all frames are treated alike.
        """
        views = [images]
        if self.crop < 1:
            views = list(five_crop(images, [max(1, round(side * self.crop)) for side in images.shape[-2:]]))
        if self.flip:
            views += [view.flip(-1) for view in views]
        return mean_logits(torch.stack([network(view).float().softmax(dim=1) for view in views]), dim=0)


def mean_logits(probs: Tensor, dim: int) -> Tensor:
    """Return logits whose softmax is the mean of probabilities over one dimension: the logarithm of that mean."""
    return probs.mean(dim=dim).clamp(min=torch.finfo(torch.float32).tiny).log()

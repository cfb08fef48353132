"""Several views of each image at test time, whose probabilities are averaged."""

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
        """Return logits (N, K) whose softmax is the mean of the probabilities of all views of images (N, C, H, W)."""
        views = [images]
        if self.crop < 1:
            views = list(five_crop(images, [max(1, round(side * self.crop)) for side in images.shape[-2:]]))
        if self.flip:
            views += [view.flip(-1) for view in views]
        probs = [network(view).float().softmax(dim=1) for view in views]
        return torch.stack(probs).mean(dim=0).clamp(min=torch.finfo(torch.float).tiny).log()

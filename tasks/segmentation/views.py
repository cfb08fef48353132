"""Test-time views of a segmenter: the whole image, overlapping windows, or several scales and the mirror image."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Views(ABC):
    """What a network is shown of each image in all that is measured or predicted, and how it is put together.

    Shape:
        network (N, 3, H, W) -> (N, K, H, W) logits, and images (N, 3, H, W) -> (N, K, H, W) float32 probabilities
    """

    @abstractmethod
    def __call__(self, network: nn.Module, images: Tensor) -> Tensor:
        """Return the probabilities of every pixel."""


class WholeImage(Views):
    """The image as a whole."""

    def __call__(self, network: nn.Module, images: Tensor) -> Tensor:
        return network(images).float().softmax(dim=1)


class SlidingWindow(Views):
    """Overlapping windows, averaged with more weight for a pixel near the middle of a window.

    An image smaller than a window is padded with zeros, which is the mean color of a normalized image.

    Args:
        size: height and width of a window, in pixels.
        overlap: part of a window that the next one shares, from 0 to below 1.
    """

    def __init__(self, size: tuple[int, int] = (512, 512), overlap: float = 0.5) -> None:
        if min(size) < 1 or not 0 <= overlap < 1:
            raise ValueError(f"size is {size} and overlap {overlap}; expected pixels, and a part from 0 to below 1.")
        self.size = (size[0], size[1])
        self.overlap = overlap

    def __call__(self, network: nn.Module, images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        low, wide = max(0, self.size[0] - height), max(0, self.size[1] - width)
        padded = F.pad(images, (0, wide, 0, low))
        weight = _tent(self.size[0], images.device)[:, None] * _tent(self.size[1], images.device)
        total: Tensor | None = None
        # summed alongside, since the number of windows differs from pixel to pixel
        weights = torch.zeros(padded.shape[2:], device=images.device)
        for top in _starts(padded.shape[2], self.size[0], self.overlap):
            for left in _starts(padded.shape[3], self.size[1], self.overlap):
                place = (slice(top, top + self.size[0]), slice(left, left + self.size[1]))
                probs = network(padded[:, :, place[0], place[1]]).float().softmax(dim=1)
                if total is None:
                    total = probs.new_zeros(len(images), probs.shape[1], *padded.shape[2:])
                total[:, :, place[0], place[1]] += probs * weight
                weights[place] += weight
        assert total is not None  # there is one window at least
        return (total / weights)[:, :, :height, :width]


class MultiScale(Views):
    """The mean over several scales of the image, and over its mirror image.

    Args:
        scales: factors on height and width.
        flip: also the mirror image.
        views: of the image at each scale; the whole image if not given.
    """

    def __init__(
        self, scales: Sequence[float] = (0.75, 1.0, 1.25), flip: bool = True, views: Views | None = None
    ) -> None:
        if not scales or min(scales) <= 0:
            raise ValueError(f"scales are {scales}; give one or more factors above 0.")
        self.scales = tuple(scales)
        self.flip = flip
        self.views = views or WholeImage()

    def __call__(self, network: nn.Module, images: Tensor) -> Tensor:
        size = images.shape[2:]
        views = []
        for scale in self.scales:
            wanted = [max(1, round(side * scale)) for side in size]
            resized = images
            if wanted != list(size):
                resized = F.interpolate(images, size=wanted, mode="bilinear", align_corners=False, antialias=True)
            views.append(self.views(network, resized))
            if self.flip:
                views.append(self.views(network, resized.flip(3)).flip(3))
        full = [
            view
            if view.shape[2:] == size
            else F.interpolate(view, size=tuple(size), mode="bilinear", align_corners=False)
            for view in views
        ]
        # probabilities and not logits are averaged, whose scale differs between views
        return torch.stack(full).mean(dim=0)


def _starts(length: int, window: int, overlap: float) -> list[int]:
    """Return where windows begin: evenly, the first at 0, the last at the end, none further apart than wanted."""
    step = max(1, int(window * (1 - overlap)))
    number = -(-(length - window) // step) + 1
    return [round(i * (length - window) / max(1, number - 1)) for i in range(number)]


def _tent(size: int, device: torch.device) -> Tensor:
    """Return weights (size,) that fall from 1 in the middle towards the edges, and are nowhere 0."""
    middle = (torch.arange(size, device=device) + 0.5) / size
    # above 0 everywhere: the corners of the image are in a single window
    return 1 - (2 * middle - 1).abs() + 1 / size

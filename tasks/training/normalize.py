"""Normalization of 8-bit images by mean and standard deviation, on the device that trains."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def input_channels(network: nn.Module) -> int:
    """Return how many channels a network takes: those of its first convolution, and 3 where it has none."""
    first = next((weight for weight in network.parameters() if weight.dim() >= 4), None)
    return 3 if first is None else first.shape[1]


def normalize_for(
    network: nn.Module, mean: Sequence[float] | None = None, std: Sequence[float] | None = None
) -> Normalize:
    """Return the normalization of the images that a network takes.

    Args:
        network: the network.
        mean: of each channel, where the brightest value is 1; ImageNet's of three channels if not given, and the mean
            of these for each channel of another number.
        std: of each channel, as `mean`.

    Raises:
        ValueError: there is not one number for each channel, or `std` is not above 0.
    """
    channels = input_channels(network)
    kept = []
    for name, given, known in (("mean", mean, IMAGENET_MEAN), ("std", std, IMAGENET_STD)):
        numbers = list(known if channels == 3 else [sum(known) / 3] * channels) if given is None else list(given)
        if len(numbers) != channels or (name == "std" and min(numbers) <= 0):
            raise ValueError(
                f"model.{name} is {numbers}; expected {channels} numbers{' above 0' * (name == 'std')}, one for each "
                "channel that the network takes."
            )
        kept.append(numbers)
    return Normalize(*kept)


class Normalize(nn.Module):
    """Center and scale the channels of 8-bit images, and leave padding at zero.

    Images and clips alone: the values of medical scans have no common range, so that they are scaled scan by scan where
    they are read (`data.intensity`).

    Args:
        mean: of each channel, where the brightest value is 1.
        std: of each channel.

    Shape:
        - images: (N, C, H, W) uint8
        - sizes: (N, 2) int64, height and width of each image within its padding; None where nothing is padded
        - output: (N, C, H, W) float32 in the memory format of `images`
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD) -> None:
        super().__init__()
        scale = 1 / (255 * torch.tensor(std).view(-1, 1, 1))
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("shift", -255 * torch.tensor(mean).view(-1, 1, 1) * scale, persistent=False)

    def forward(self, images: Tensor, sizes: Tensor | None = None) -> Tensor:
        if len(images) and images.shape[1] != len(self.scale):
            raise ValueError(
                f"the images have {images.shape[1]} channels and the network takes {len(self.scale)}; give "
                "data.pixels.channels and model.network.in_channels the same number (of a backbone given by its class: "
                "its own in_channels)."
            )
        if not len(images):  # none could be read, and the number of channels is unknown
            return images.to(self.scale.dtype)
        height, width = images.shape[-2:]
        heights, widths = (height, width) if sizes is None else (sizes[:, :1], sizes[:, 1:])
        rows = (torch.arange(height, device=images.device)[None] < heights)[:, None, :, None]
        columns = (torch.arange(width, device=images.device)[None] < widths)[:, None, None, :]
        innermost = images.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if innermost else torch.contiguous_format
        # expanded along the width in the layout of the pixels: broadcasting 3 channels takes a CPU ten times as long
        scale = (self.scale * columns).contiguous(memory_format=layout)  # (N, C, 1, W)
        shift = (self.shift * columns).contiguous(memory_format=layout)
        pixels = images.to(scale.dtype, copy=True)  # the rest is in place
        return pixels.mul_(scale).add_(shift).mul_(rows)

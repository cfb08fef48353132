"""Input normalization on the device, by default with the statistics that the weights of the network expect."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vertebra.backbones.normalization import IMAGENET

IMAGENET_MEAN, IMAGENET_STD = IMAGENET


def input_channels(network: nn.Module) -> int:
    """Return the input channels of a network: those of its first convolution, or 3 if it has none."""
    # convolutions are the only weights of four or more dimensions
    first = next((weight for weight in network.parameters() if weight.dim() >= 4), None)
    return 3 if first is None else first.shape[1]


def normalize_for(
    network: nn.Module, mean: Sequence[float] | None = None, std: Sequence[float] | None = None
) -> Normalize:
    """Build the input normalization of a network.

    Args:
        network: the network.
        mean: mean of each channel, for pixels in 0..1; by default what the published weights of the network's backbone
            expect, or its average over RGB if the network does not have three input channels.
        std: standard deviation of each channel, with the same default.

    Raises:
        ValueError: not one number per input channel, or a `std` that is not above 0.
    """
    channels = input_channels(network)
    statistics = []
    published = getattr(getattr(network, "backbone", None), "normalization", None) or IMAGENET
    for name, given, default in zip(("mean", "std"), (mean, std), published, strict=True):
        values = list(default if channels == 3 else [sum(default) / 3] * channels) if given is None else list(given)
        if len(values) != channels or (name == "std" and min(values) <= 0):
            raise ValueError(
                f"model.{name} is {values}; expected {channels} numbers{' above 0' * (name == 'std')}, one for each "
                "input channel of the network. Correct it, or leave it out for that of the published weights."
            )
        statistics.append(values)
    return Normalize(*statistics)


class Normalize(nn.Module):
    """Channel-wise normalization of 8-bit images; padding stays zero.

    Part of the module, not of data loading: a batch of uint8 is a quarter of the bytes to copy to the device.
    For images and clips only: medical scans have no common value range, and are scaled per scan where they are read
    (`data.intensity`).

    Args:
        mean: mean of each channel, for pixels in 0..1.
        std: standard deviation of each channel, for pixels in 0..1.

    Shape:
        - images: (N, C, H, W) uint8
        - sizes: (N, 2) int64, height and width of each image without padding; None without padding
        - output: (N, C, H, W) float32 in the memory format of `images`
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD) -> None:
        super().__init__()
        self.mean, self.std = list(mean), list(std)
        # not persistent: constants of the configuration, which no checkpoint should override
        scale = 1 / (255 * torch.tensor(std).view(-1, 1, 1))
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("shift", -255 * torch.tensor(mean).view(-1, 1, 1) * scale, persistent=False)

    def forward(self, images: Tensor, sizes: Tensor | None = None) -> Tensor:
        # `shape[0]` and not `len`, which fixes the number of images in an exported network
        if images.shape[0] and images.shape[1] != len(self.scale):
            raise ValueError(
                f"the images have {images.shape[1]} channels and the network takes {len(self.scale)}; expected the "
                "same number. Set data.pixels.channels and model.network.in_channels alike (for a backbone given by "
                "its class: its own in_channels)."
            )
        if not images.shape[0]:  # a batch without readable images has no known number of channels
            return images.to(self.scale.dtype)
        height, width = images.shape[-2:]
        heights, widths = (height, width) if sizes is None else (sizes[:, :1], sizes[:, 1:])
        rows = (torch.arange(height, device=images.device)[None] < heights)[:, None, :, None]
        columns = (torch.arange(width, device=images.device)[None] < widths)[:, None, None, :]
        is_channels_last = images.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if is_channels_last else torch.contiguous_format
        # expanded over columns in the layout of the images: broadcasting three values is ten times slower on a CPU
        scale = (self.scale * columns).contiguous(memory_format=layout)  # (N, C, 1, W)
        shift = (self.shift * columns).contiguous(memory_format=layout)
        pixels = images.to(scale.dtype, copy=True)  # the only allocation; all further operations are in place
        return pixels.mul_(scale).add_(shift).mul_(rows)

    def clips(self, clips: Tensor) -> Tensor:
        """Normalize clips (N, C, T, H, W) uint8 frame by frame; the result is a view of frames (N * T, C, H, W)."""
        frames = clips.transpose(1, 2).flatten(0, 1)
        return self(frames).unflatten(0, (clips.shape[0], clips.shape[2])).transpose(1, 2)

"""Channel attention for residual blocks."""

from __future__ import annotations

from torch import Tensor, nn

from vertebra.backbones.layers import conv


class SqueezeExcite(nn.Module):
    """Squeeze-and-excitation: rescales each channel by a gate computed from all channels' global means.

    Squeeze-and-Excitation Networks, Hu et al. 2017, https://arxiv.org/abs/1709.01507.

    Args:
        dim: 2 for images, 3 for clips and volumes.
        channels: of the map.
        ratio: channels of the bottleneck to those of the map; rounded to a multiple of 8.

    Shape:
        (N, channels, ...) -> (N, channels, ...)
    """

    def __init__(self, dim: int, channels: int, ratio: float = 1 / 16) -> None:
        super().__init__()
        squeezed = max(8, int(channels * ratio + 4) // 8 * 8)
        self.fc1 = conv(dim, channels, squeezed, kernel_size=1, bias=True)
        self.fc2 = conv(dim, squeezed, channels, kernel_size=1, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        squeezed = x.mean(dim=tuple(range(2, x.dim())), keepdim=True)
        return x * self.fc2(self.fc1(squeezed).relu()).sigmoid()

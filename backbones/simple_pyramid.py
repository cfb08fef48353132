"""Simple feature pyramid: maps of several resolutions from a single map, for networks without stages.

Exploring Plain Vision Transformer Backbones for Object Detection (ViTDet), Li et al. 2022,
https://arxiv.org/abs/2203.16527, section 3
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from vertebra.backbones.backbone import Level


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each pixel.

    Shape:
        (N, C, H, W) -> (N, C, H, W)
    """

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class SimplePyramid(nn.Module):
    """Maps of reduction 4, 8, 16 and 32 from one map: transposed convolutions for finer ones, max pooling for coarser.

    Each halving of the reduction halves the channels, too. The 1x1 and 3x3 convolutions to a common width that follow
    in the paper are those of the neck.

    Args:
        channels: of the map.
        reduction: of the map, a power of 2.
        output_stride: upper bound of the reductions.

    Attributes:
        levels: of the maps, fine to coarse.

    Shape:
        - x: (N, channels, H, W)
        - output: dict of `level.name` to (N, level.channels, H * reduction / level.reduction, ...), rounded up
    """

    def __init__(self, channels: int, reduction: int, output_stride: int = 32) -> None:
        super().__init__()
        self.reduction = reduction
        levels = []
        for name, wanted in (("C2", 4), ("C3", 8), ("C4", 16), ("C5", 32)):
            size = min(wanted, output_stride)
            finer = max(reduction // size, 1)
            if finer > 1:
                self.add_module(name, _upsampling(channels, finer))
            levels.append(Level(name, channels // finer, size))
        self.levels = tuple(levels)

    def keep(self, names: Sequence[str]) -> None:
        """Remove all levels but those named."""
        for name, _ in list(self.named_children()):
            if name not in names:
                delattr(self, name)
        self.levels = tuple(level for level in self.levels if level.name in names)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps = {}
        for name, _, reduction in self.levels:
            if isinstance(reduction, int) and reduction > self.reduction:
                coarser = reduction // self.reduction
                maps[name] = F.max_pool2d(x, coarser, coarser, ceil_mode=True)
            else:
                maps[name] = self.get_submodule(name)(x) if name in self._modules else x
        return maps


def _upsampling(channels: int, factor: int) -> nn.Sequential:
    """Build transposed convolutions of stride 2, with a norm and an activation between two of them."""
    layers: list[nn.Module] = []
    while factor > 1:
        layers += [ChannelNorm(channels), nn.GELU()] if layers else []
        layers.append(nn.ConvTranspose2d(channels, channels // 2, kernel_size=2, stride=2))
        channels, factor = channels // 2, factor // 2
    return nn.Sequential(*layers)

"""Pyramid pooling, and the two decoders that stand on it: PSPNet and UPerNet."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vertebra.backbones import Level
from vertebra.backbones.layers import Norm
from vertebra.tasks.segmentation.layers import conv_norm, initialize, pooled_conv_norm, resized

GRIDS = (1, 2, 3, 6)


class PyramidPooling(nn.Module):
    """Means over the parts of coarse grids beside the map itself, fused by a 3x3 convolution.

    Pyramid Scene Parsing Network, Zhao et al. 2016, https://arxiv.org/abs/1612.01105. The norm of the 1 x 1 grid
    stands a batch of one image.

    Args:
        in_channels: of the map.
        pooled_channels: of each grid.
        channels: of the output.
        norm: see `BackboneOptions`.

    Shape:
        (N, in_channels, H, W) -> (N, channels, H, W)
    """

    def __init__(self, in_channels: int, pooled_channels: int, channels: int, norm: Norm = "batch") -> None:
        super().__init__()
        self.grids = nn.ModuleList(pooled_conv_norm(in_channels, pooled_channels, size, norm) for size in GRIDS)
        self.fuse = conv_norm(in_channels + len(GRIDS) * pooled_channels, channels, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        size = (x.shape[2], x.shape[3])
        return self.fuse(torch.cat([x, *(resized(grid(x), size) for grid in self.grids)], dim=1))


class PSPNetDecoder(nn.Module):
    """Pyramid pooling on the coarsest level; each grid has a quarter of its channels.

    Pyramid Scene Parsing Network, Zhao et al. 2016, https://arxiv.org/abs/1612.01105.

    Args:
        levels: a backbone's.
        norm: see `BackboneOptions`.
        channels: of the output.

    Shape:
        dict of maps -> (N, channels, h, w) of the coarsest
    """

    def __init__(self, levels: Sequence[Level], norm: Norm = "batch", channels: int = 512) -> None:
        super().__init__()
        self.level = levels[-1].name
        self.channels = channels
        width = levels[-1].channels
        self.pooling = PyramidPooling(width, max(1, width // len(GRIDS)), channels, norm)
        initialize(self)

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        return self.pooling(features[self.level])


class UPerNetDecoder(nn.Module):
    """Pyramid pooling on the coarsest level, a feature pyramid down to the finest, and all its levels fused there.

    Unified Perceptual Parsing for Scene Understanding, Xiao et al. 2018, https://arxiv.org/abs/1807.10221.

    Args:
        levels: a backbone's.
        norm: see `BackboneOptions`.
        channels: of every level of the pyramid, of each grid, and of the output.

    Shape:
        dict of maps -> (N, channels, h, w) of the finest
    """

    def __init__(self, levels: Sequence[Level], norm: Norm = "batch", channels: int = 256) -> None:
        super().__init__()
        self.names = [level.name for level in levels]
        self.channels = channels
        self.pooling = PyramidPooling(levels[-1].channels, channels, channels, norm)
        self.lateral = nn.ModuleList(
            conv_norm(level.channels, channels, kernel_size=1, norm=norm) for level in levels[:-1]
        )
        self.smooth = nn.ModuleList(conv_norm(channels, channels, norm=norm) for _ in levels[:-1])
        self.fuse = conv_norm(len(levels) * channels, channels, norm=norm)
        initialize(self)

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        maps = [lateral(features[name]) for name, lateral in zip(self.names, self.lateral, strict=False)]
        maps.append(self.pooling(features[self.names[-1]]))
        for i in range(len(maps) - 2, -1, -1):  # top down
            maps[i] = maps[i] + resized(maps[i + 1], (maps[i].shape[2], maps[i].shape[3]))
        size = (maps[0].shape[2], maps[0].shape[3])
        smoothed = [smooth(x) for x, smooth in zip(maps, self.smooth, strict=False)]
        return self.fuse(torch.cat([resized(x, size) for x in (*smoothed, maps[-1])], dim=1))

"""Pyramid pooling module and the decoders of PSPNet and UPerNet."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vertebra.backbones import Level
from vertebra.backbones.layers import Norm
from vertebra.tasks.segmentation.layers import conv_norm, initialize, pooled_conv_norm, resized

GRIDS = (1, 2, 3, 6)  # bins per side, as in the paper


class PyramidPooling(nn.Module):
    """Pyramid pooling module: average pooling at four grid sizes, concatenated with the input and fused by a 3x3 conv.

    Pyramid Scene Parsing Network, Zhao et al. 2016, https://arxiv.org/abs/1612.01105. The branch of the 1 x 1 grid also
    trains on a batch of one image, see `PooledBatchNorm`.

    Args:
        in_channels: channels of the input map.
        pooled_channels: channels of each grid.
        channels: channels of the output.
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
    """PSPNet decoder: pyramid pooling on the coarsest level, a quarter of its channels per grid.

    Pyramid Scene Parsing Network, Zhao et al. 2016, https://arxiv.org/abs/1612.01105.

    Args:
        levels: levels of the backbone.
        norm: see `BackboneOptions`.
        channels: channels of the output.

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
    """UPerNet decoder: pyramid pooling on the coarsest level, a feature pyramid, and fusion at the finest level.

    Unified Perceptual Parsing for Scene Understanding, Xiao et al. 2018, https://arxiv.org/abs/1807.10221.

    Args:
        levels: levels of the backbone.
        norm: see `BackboneOptions`.
        channels: channels of every pyramid level, of each grid, and of the output.

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
        for i in range(len(maps) - 2, -1, -1):  # top-down, so that each level is added after its own coarser one
            maps[i] = maps[i] + resized(maps[i + 1], (maps[i].shape[2], maps[i].shape[3]))
        size = (maps[0].shape[2], maps[0].shape[3])
        # not strict: the coarsest level has passed the fusing convolution of the pyramid pooling already
        smoothed = [smooth(x) for x, smooth in zip(maps, self.smooth, strict=False)]
        return self.fuse(torch.cat([resized(x, size) for x in (*smoothed, maps[-1])], dim=1))

"""Necks: they turn a backbone's maps into a pyramid in which every level has the same number of channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from backbones.backbone import Level
from backbones.layers import Norm, conv, norm_layer


class FPN(nn.Module):
    """Feature pyramid: coarse maps are upsampled and added to the finer ones.

    Feature Pyramid Networks for Object Detection, Lin et al. 2016, https://arxiv.org/abs/1612.03144; P6 and P7 by
    convolution as in Focal Loss for Dense Object Detection, Lin et al. 2017, https://arxiv.org/abs/1708.02002, from C5.
    Submodules carry torchvision's names. Works in three dimensions where the levels do.

    Args:
        levels: a backbone's `levels`.
        channels: channels of every level of the pyramid.
        extra: coarser levels behind the last: None, `pool` (one, by subsampling) or `conv` (two, by strided
            convolution).
        norm: a norm behind every convolution (see `BackboneOptions`), or None for biases instead.

    Attributes:
        levels: the pyramid's levels, P2..P5 for C2..C5 and the extra ones.

    Shape:
        dict of C2..C5 -> dict of P2..P5 (and P6, P7), each (N, channels, H / reduction, W / reduction)
    """

    def __init__(
        self,
        levels: Sequence[Level],
        channels: int = 256,
        extra: Literal["pool", "conv"] | None = None,
        norm: Norm | None = None,
    ) -> None:
        super().__init__()
        dim = 2 if isinstance(levels[0].reduction, int) else 3

        def layer(in_channels: int, kernel_size: int) -> nn.Sequential:
            convolution = conv(dim, in_channels, channels, kernel_size, bias=norm is None)
            return nn.Sequential(convolution, *([norm_layer(dim, channels, norm)] if norm else []))

        self.inner_blocks = nn.ModuleList(layer(level.channels, kernel_size=1) for level in levels)
        self.layer_blocks = nn.ModuleList(layer(channels, kernel_size=3) for _ in levels)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d):
                nn.init.kaiming_uniform_(module.weight, a=1)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

        self.extra_blocks = _extra_blocks(extra, dim, levels[-1].channels, channels)
        self.inputs = [level.name for level in levels]
        self.levels = tuple(Level(f"P{level.name[1:]}", channels, level.reduction) for level in levels)
        number, reduction = int(levels[-1].name[1:]), levels[-1].reduction
        for _ in range(self.extra_blocks.num_levels if self.extra_blocks else 0):
            number += 1
            reduction = (
                reduction * 2 if isinstance(reduction, int) else (reduction[0] * 2, reduction[1] * 2, reduction[2] * 2)
            )
            self.levels += (Level(f"P{number}", channels, reduction),)

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        maps = [block(features[name]) for name, block in zip(self.inputs, self.inner_blocks, strict=True)]
        for i in range(len(maps) - 2, -1, -1):  # top down
            maps[i] = maps[i] + F.interpolate(maps[i + 1], size=maps[i].shape[2:], mode="nearest")
        maps = [block(x) for x, block in zip(maps, self.layer_blocks, strict=True)]
        if self.extra_blocks is not None:
            maps += self.extra_blocks(maps[-1], features[self.inputs[-1]])
        return {level.name: x for level, x in zip(self.levels, maps, strict=True)}


class _PoolLevel(nn.Module):
    """P6 as every second pixel of P5, which needs no weights."""

    num_levels = 1

    def forward(self, last: Tensor, coarsest: Tensor) -> list[Tensor]:
        for axis in range(2, last.dim()):
            last = last[(slice(None),) * axis + (slice(None, None, 2),)]
        return [last]


class _ConvLevels(nn.Module):
    """P6 from C5 and P7 from P6, by strided 3x3 convolutions."""

    num_levels = 2

    def __init__(self, dim: int, in_channels: int, channels: int) -> None:
        super().__init__()
        self.p6 = conv(dim, in_channels, channels, kernel_size=3, stride=2, bias=True)
        self.p7 = conv(dim, channels, channels, kernel_size=3, stride=2, bias=True)
        for module in (self.p6, self.p7):
            nn.init.kaiming_uniform_(module.weight, a=1)  # type: ignore[arg-type]
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, last: Tensor, coarsest: Tensor) -> list[Tensor]:
        p6 = self.p6(coarsest)
        return [p6, self.p7(F.relu(p6))]


def _extra_blocks(extra: str | None, dim: int, in_channels: int, channels: int) -> _PoolLevel | _ConvLevels | None:
    if extra is None:
        return None
    if extra == "pool":
        return _PoolLevel()
    if extra == "conv":
        return _ConvLevels(dim, in_channels, channels)
    raise ValueError(f"extra is {extra!r}; choose pool (P6), conv (P6 and P7) or none.")

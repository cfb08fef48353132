"""Shared parts of necks: names and strides of pyramid levels, convolutions, and extra coarse levels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vertebra.backbones.backbone import Level
from vertebra.backbones.frozen_norms import Chain
from vertebra.backbones.layers import Norm, conv, norm_layer, per_axis

Extra = Literal["pool", "conv", "conv_p5"]


def dimension(levels: Sequence[Level]) -> int:
    """Return 2 for maps of images and 3 for those of clips and volumes.

    Raises:
        ValueError: there is no level.
    """
    if not levels:
        raise ValueError("levels is empty; a neck needs at least one: pass a backbone's levels.")
    return 2 if isinstance(levels[0].reduction, int) else 3


def pyramid_levels(levels: Sequence[Level], channels: int, num_extra: int) -> tuple[Level, ...]:
    """Return the levels of a pyramid, P2 for C2 and so on, then `num_extra` more, each at half the resolution."""
    named = [Level(f"P{level.name[1:]}", channels, level.reduction) for level in levels]
    for _ in range(num_extra):
        last = named[-1].reduction
        halved = last * 2 if isinstance(last, int) else (last[0] * 2, last[1] * 2, last[2] * 2)
        named.append(Level(f"P{int(named[-1].name[1:]) + 1}", channels, halved))
    return tuple(named)


def steps(levels: Sequence[Level]) -> list[tuple[int, ...]]:
    """Return the stride from each level to the next coarser one, for each axis."""
    dim = dimension(levels)
    sizes = [per_axis(level.reduction, dim) for level in levels]
    return [
        tuple(coarse // fine for coarse, fine in zip(after, before, strict=True)) for before, after in pairwise(sizes)
    ]


def resized(x: Tensor, like: Tensor) -> Tensor:
    """Resize `x` to the size of `like` by nearest neighbors; where odd sizes were halved the scale is not exactly 2."""
    # an exported network runs at other sizes than it was traced with, where these may differ
    if not torch.compiler.is_exporting() and x.shape[2:] == like.shape[2:]:
        return x
    return F.interpolate(x, size=like.shape[2:], mode="nearest")


def add_resized(x: Tensor, coarse: Tensor) -> Tensor:
    """Return `x + resized(coarse, like=x)`, in compiled code without the resized map.

    There the gradient of an interpolation scatters its values, and that of a broadcast sums them; uncompiled, the
    interpolation has the faster gradient.
    """
    if torch.compiler.is_exporting() or not torch.compiler.is_compiling():
        return x + resized(coarse, like=x)
    scales = [fine // size for fine, size in zip(x.shape[2:], coarse.shape[2:], strict=True)]
    if any(size * scale != fine for size, scale, fine in zip(coarse.shape[2:], scales, x.shape[2:], strict=True)):
        return x + resized(coarse, like=x)  # odd sizes were halved
    for axis in reversed(range(2, x.dim())):
        x = x.unflatten(axis, (coarse.shape[axis], scales[axis - 2]))
        coarse = coarse.unsqueeze(axis + 1)
    x = x + coarse
    for axis in range(2, 2 + len(scales)):
        x = x.flatten(axis, axis + 1)
    return x


def pyramid_conv(dim: int, in_channels: int, channels: int, size: int, norm: Norm | None) -> nn.Sequential:
    """Build a convolution followed by a norm, or with a bias where `norm` is None."""
    convolution = conv(dim, in_channels, channels, size, bias=norm is None)
    return Chain(convolution, *([norm_layer(dim, channels, norm)] if norm else []))


def initialize(neck: nn.Module) -> None:
    """Initialize convolutions by LeCun's uniform distribution (variance 1 / fan-in), and biases by zero."""
    for module in neck.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_uniform_(module.weight, a=1)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


class PoolLevel(nn.Module):
    """P6 by subsampling P5, without parameters.

    Shape:
        P5 (N, channels, ...) and C5, which is not used -> [P6]
    """

    num_levels = 1

    def forward(self, last: Tensor, coarsest: Tensor) -> list[Tensor]:
        for axis in range(2, last.dim()):
            last = last[(slice(None),) * axis + (slice(None, None, 2),)]
        return [last]


class ConvLevels(nn.Module):
    """P6 from C5 or P5, and P7 from P6, by strided 3x3 convolutions.

    Focal Loss for Dense Object Detection, Lin et al. 2017, https://arxiv.org/abs/1708.02002, from C5; from P5 as in
    FCOS, Tian et al. 2019, https://arxiv.org/abs/1904.01355.

    Args:
        dim: 2 for images, 3 for clips and volumes.
        in_channels: of C5; None for P6 from P5.
        channels: of the pyramid.

    Shape:
        P5 (N, channels, ...) and C5 (N, in_channels, ...) -> [P6, P7], each (N, channels, ...)
    """

    num_levels = 2

    def __init__(self, dim: int, in_channels: int | None, channels: int) -> None:
        super().__init__()
        self.from_pyramid = in_channels is None
        in_channels = channels if in_channels is None else in_channels
        self.p6 = conv(dim, in_channels, channels, kernel_size=3, stride=2, bias=True)
        self.p7 = conv(dim, channels, channels, kernel_size=3, stride=2, bias=True)

    def forward(self, last: Tensor, coarsest: Tensor) -> list[Tensor]:
        p6 = self.p6(last if self.from_pyramid else coarsest)
        return [p6, self.p7(F.relu(p6))]


def extra_levels(extra: Extra | None, levels: Sequence[Level], channels: int) -> PoolLevel | ConvLevels | None:
    """Build the levels beyond the coarsest of a backbone's `levels`.

    Raises:
        ValueError: `extra` is not one of the choices.
    """
    if extra is None:
        return None
    if extra == "pool":
        return PoolLevel()
    if extra in ("conv", "conv_p5"):
        return ConvLevels(dimension(levels), levels[-1].channels if extra == "conv" else None, channels)
    raise ValueError(f"extra is {extra!r}; choose pool (P6), conv (P6 and P7 from C5), conv_p5 (from P5) or none.")

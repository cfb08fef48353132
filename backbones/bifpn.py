"""The weighted bidirectional pyramid of EfficientDet."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vertebra.backbones.backbone import Level
from vertebra.backbones.frozen_norms import chain
from vertebra.backbones.layers import Norm, conv, max_pool, norm_layer
from vertebra.backbones.pyramid import (
    Extra,
    dimension,
    extra_levels,
    initialize,
    pyramid_conv,
    pyramid_levels,
    resized,
    steps,
)

EPSILON = 1e-4  # the paper's, in the denominator of the fusion


class BiFPN(nn.Module):
    """BiFPN: repeated top-down and bottom-up passes with learned weights for each fused map.

    EfficientDet: Scalable and Efficient Object Detection, Tan et al. 2019, https://arxiv.org/abs/1911.09070. The extra
    levels take part in the fusion, as in the paper; they are computed like those of the other necks, by subsampling or
    convolution, where the paper has max pooling. 3-D levels give a 3-D pyramid.

    Args:
        levels: a backbone's `levels`.
        channels: channels of every level of the pyramid; EfficientDet-D0 has 64.
        extra: levels beyond the coarsest: None, `pool` (one, by subsampling), or two by strided convolution: `conv`
            from C5, `conv_p5` from P5.
        norm: after every convolution (see `BackboneOptions`), or None for biases instead; the paper's is batch.
        repeats: number of passes; EfficientDet-D0 has 3.

    Attributes:
        levels: the pyramid's levels, P2..P5 for C2..C5 and the extra ones.

    Shape:
        dict of C2..C5 -> dict of P2..P5 (and P6, P7), each (N, channels, H / reduction, W / reduction)
    """

    def __init__(
        self,
        levels: Sequence[Level],
        channels: int = 256,
        extra: Extra | None = None,
        norm: Norm | None = None,
        repeats: int = 3,
    ) -> None:
        super().__init__()
        if repeats < 1:
            raise ValueError(f"repeats is {repeats}; a BiFPN has at least 1.")
        dim = dimension(levels)
        self.inner_blocks = nn.ModuleList(pyramid_conv(dim, level.channels, channels, 1, norm) for level in levels)
        self.extra_blocks = extra_levels(extra, levels, channels)
        self.inputs = [level.name for level in levels]
        self.levels = pyramid_levels(levels, channels, self.extra_blocks.num_levels if self.extra_blocks else 0)
        # a single level has no neighbor to fuse with
        rounds = repeats if len(self.levels) > 1 else 0
        self.rounds = nn.Sequential(*(Round(self.levels, channels, norm) for _ in range(rounds)))
        initialize(self)

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        maps = [block(features[name]) for name, block in zip(self.inputs, self.inner_blocks, strict=True)]
        if self.extra_blocks is not None:
            maps += self.extra_blocks(maps[-1], features[self.inputs[-1]])
        return {level.name: x for level, x in zip(self.levels, self.rounds(maps), strict=True)}


class Round(nn.Module):
    """One BiFPN layer: a top-down and a bottom-up pass.

    Args:
        levels: of the pyramid, two or more.
        channels: of every map.
        norm: after every convolution, or None.

    Shape:
        list of (N, channels, H_l, W_l), fine to coarse -> the same
    """

    def __init__(self, levels: Sequence[Level], channels: int, norm: Norm | None) -> None:
        super().__init__()
        dim, count = dimension(levels), len(levels)
        self.down = nn.ModuleList(
            max_pool(dim, [3 if axis > 1 else 1 for axis in step], stride=step) for step in steps(levels)
        )
        # top-down nodes for all levels but the coarsest, bottom-up nodes for all but the finest; the latter fuse
        # the top-down map as a third input, except at the coarsest level, which has none
        self.up_nodes = nn.ModuleList(Node(dim, channels, 2, norm) for _ in range(count - 1))
        self.down_nodes = nn.ModuleList(Node(dim, channels, 2 if i == count - 1 else 3, norm) for i in range(1, count))

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        between = list(maps)
        for i in range(len(maps) - 2, -1, -1):
            between[i] = self.up_nodes[i](maps[i], resized(between[i + 1], like=maps[i]))
        out = between[:1]
        for i, (down, node) in enumerate(zip(self.down, self.down_nodes, strict=True), start=1):
            finer = resized(down(out[-1]), like=maps[i])
            out.append(node(maps[i], finer) if i == len(maps) - 1 else node(maps[i], between[i], finer))
        return out


class Node(nn.Module):
    """Fusion node: the weighted mean of maps (fast normalized fusion), then a depthwise separable convolution.

    Args:
        dim: 2 for images, 3 for clips and volumes.
        channels: of the maps.
        num_inputs: number of maps.
        norm: after the convolution, or None.

    Shape:
        `num_inputs` maps (N, channels, H, W) -> (N, channels, H, W)
    """

    def __init__(self, dim: int, channels: int, num_inputs: int, norm: Norm | None) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.ones(num_inputs))
        self.depthwise = conv(dim, channels, channels, kernel_size=3, groups=channels)
        self.pointwise = conv(dim, channels, channels, kernel_size=1, bias=norm is None)
        self.norm = norm_layer(dim, channels, norm) if norm else None

    def forward(self, *maps: Tensor) -> Tensor:
        weights = F.relu(self.weights)
        weights = weights / (weights.sum() + EPSILON)
        mixed = torch.stack([weight * x for weight, x in zip(weights.unbind(), maps, strict=True)]).sum(dim=0)
        norm = () if self.norm is None else (self.norm,)
        return chain(F.silu(mixed), self.depthwise, self.pointwise, *norm)

"""Path aggregation network (PAFPN)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from vertebra.backbones.backbone import Level
from vertebra.backbones.fpn import FPN
from vertebra.backbones.frozen_norms import Chain
from vertebra.backbones.layers import Norm, Size, conv, norm_layer
from vertebra.backbones.pyramid import Extra, dimension, extra_levels, initialize, pyramid_levels, resized, steps


class PAFPN(nn.Module):
    """PAFPN: a feature pyramid with an additional bottom-up path, which shortens the way from fine to coarse maps.

    Path Aggregation Network for Instance Segmentation, Liu et al. 2018, https://arxiv.org/abs/1803.01534: its bottom-up
    path augmentation. A ReLU follows each convolution of that path, as in the paper and unlike in many other
    implementations. 3-D levels give a 3-D pyramid.

    Args:
        levels: a backbone's `levels`.
        channels: channels of every level of the pyramid.
        extra: levels beyond the coarsest: None, `pool` (one, by subsampling), or two by strided convolution: `conv`
            from C5, `conv_p5` from P5.
        norm: after every convolution (see `BackboneOptions`), or None for biases instead.

    Attributes:
        levels: the pyramid's levels, P2..P5 for C2..C5 (the paper's N2..N5) and the extra ones.

    Shape:
        dict of C2..C5 -> dict of P2..P5 (and P6, P7), each (N, channels, H / reduction, W / reduction)
    """

    def __init__(
        self, levels: Sequence[Level], channels: int = 256, extra: Extra | None = None, norm: Norm | None = None
    ) -> None:
        super().__init__()
        dim = dimension(levels)
        self.fpn = FPN(levels, channels, norm=norm)
        self.down_blocks = nn.ModuleList(_block(dim, channels, step, norm) for step in steps(levels))
        self.fusion_blocks = nn.ModuleList(_block(dim, channels, 1, norm) for _ in levels[1:])
        self.extra_blocks = extra_levels(extra, levels, channels)
        initialize(self)
        self.coarsest = levels[-1].name
        self.levels = pyramid_levels(levels, channels, self.extra_blocks.num_levels if self.extra_blocks else 0)

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        maps = list(self.fpn(features).values())
        for i, (down, fusion) in enumerate(zip(self.down_blocks, self.fusion_blocks, strict=True), start=1):
            maps[i] = fusion(maps[i] + resized(down(maps[i - 1]), like=maps[i]))
        if self.extra_blocks is not None:
            maps += self.extra_blocks(maps[-1], features[self.coarsest])
        return {level.name: x for level, x in zip(self.levels, maps, strict=True)}


def _block(dim: int, channels: int, stride: Size, norm: Norm | None) -> nn.Sequential:
    convolution = conv(dim, channels, channels, kernel_size=3, stride=stride, bias=norm is None)
    return Chain(convolution, *([norm_layer(dim, channels, norm)] if norm else []), nn.ReLU())

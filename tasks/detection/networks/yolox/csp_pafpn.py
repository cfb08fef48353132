"""The neck of YOLOX: a path aggregation network of CSP layers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from vertebra.backbones.backbone import Level
from vertebra.backbones.csp import CSPLayer, conv_norm
from vertebra.backbones.layers import Norm
from vertebra.backbones.pyramid import pyramid_levels, steps
from vertebra.tasks.detection.parts.paths import bottom_up, top_down


class CSPPAFPN(nn.Module):
    """Maps are concatenated and fused by CSP layers, top-down and then bottom-up.

    Path Aggregation Network, Liu et al. 2018, https://arxiv.org/abs/1803.01534, as in YOLOv4 and YOLOX. Every level has
    channels of its own.

    Args:
        levels: of the backbone, fine to coarse.
        widths: channels of each level of the pyramid.
        num_blocks: bottlenecks in each CSP layer.
        norm: see `BackboneOptions`.

    Attributes:
        levels: of the pyramid: P3 for C3 and so on.

    Shape:
        dict with a map (N, level.channels, H_l, W_l) a level -> dict of (N, width_l, H_l, W_l)

    Raises:
        ValueError: the levels are those of clips or volumes, or fewer than the widths.
    """

    def __init__(self, levels: Sequence[Level], widths: Sequence[int], num_blocks: int, norm: Norm = "batch") -> None:
        super().__init__()
        if not all(isinstance(level.reduction, int) for level in levels):
            raise ValueError(
                f"the levels are {[tuple(level) for level in levels]}; YOLOX is for images: take a 2-D backbone."
            )
        if len(levels) != len(widths):
            raise ValueError(
                f"the backbone has {len(levels)} levels, {', '.join(level.name for level in levels)}; YOLOX needs "
                f"{len(widths)}: give a backbone with more out_levels."
            )
        self.names = [level.name for level in levels]
        self.levels = tuple(
            level._replace(channels=width) for level, width in zip(pyramid_levels(levels, 0, 0), widths, strict=True)
        )
        coarse = list(range(len(levels) - 1, 0, -1))
        inputs = [level.channels for level in levels]
        # what the layers above leave: the coarsest map is the backbone's, the others are of the path's widths
        above = [*widths[:-1], inputs[-1]]
        self.lateral_convs = nn.ModuleList(conv_norm(above[i], widths[i - 1], 1, norm) for i in coarse)
        self.fpn_blocks = nn.ModuleList(
            CSPLayer(widths[i - 1] + inputs[i - 1], widths[i - 1], num_blocks, norm, shortcut=False) for i in coarse
        )
        strides = [step[0] for step in steps(levels)]
        self.downsample_convs = nn.ModuleList(
            conv_norm(width, width, 3, norm, stride=stride) for width, stride in zip(widths, strides, strict=False)
        )
        self.pan_blocks = nn.ModuleList(
            CSPLayer(2 * fine, width, num_blocks, norm, shortcut=False) for fine, width in pairwise(widths)
        )

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        maps = top_down([features[name] for name in self.names], self.lateral_convs, self.fpn_blocks)
        maps = bottom_up(maps, self.downsample_convs, self.pan_blocks)
        return {level.name: x for level, x in zip(self.levels, maps, strict=True)}

"""The decoder of Semantic FPN: every level of a feature pyramid brought to the finest one's size, and their sum."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vertebra.backbones import FPN, Level
from vertebra.backbones.layers import Norm
from vertebra.tasks.segmentation.layers import conv_norm, resized


class SemanticFPNDecoder(nn.Module):
    """A feature pyramid whose levels are convolved and doubled in turn to the finest one's size, and added.

    Panoptic Feature Pyramid Networks, Kirillov et al. 2019, https://arxiv.org/abs/1901.02446; with the norm asked for
    in the place of group norm.

    Args:
        levels: a backbone's.
        norm: see `BackboneOptions`.
        pyramid_channels: of the feature pyramid.
        channels: of the output.

    Shape:
        dict of maps -> (N, channels, h, w) of the finest
    """

    def __init__(
        self, levels: Sequence[Level], norm: Norm = "batch", pyramid_channels: int = 256, channels: int = 128
    ) -> None:
        super().__init__()
        self.channels = channels
        self.neck = FPN(levels, pyramid_channels)
        # a step for each finer level, and one at least
        self.branches = nn.ModuleList(
            nn.ModuleList(
                conv_norm(channels if step else pyramid_channels, channels, norm=norm) for step in range(max(1, i))
            )
            for i in range(len(levels))
        )

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        maps = list(self.neck(features).values())
        sizes = [(x.shape[2], x.shape[3]) for x in maps]
        outputs = []
        for i, (x, branch) in enumerate(zip(maps, self.branches, strict=True)):
            for step, block in enumerate(branch.children(), start=1):
                x = resized(block(x), sizes[max(0, i - step)])
            outputs.append(x)
        return torch.stack(outputs).sum(dim=0)

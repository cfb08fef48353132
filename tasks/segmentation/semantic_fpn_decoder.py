"""Semantic FPN decoder: feature pyramid levels upsampled to the finest one and summed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vertebra.backbones import FPN, Level
from vertebra.backbones.layers import Norm
from vertebra.tasks.segmentation.layers import conv_norm, resized


class SemanticFPNDecoder(nn.Module):
    """Semantic FPN decoder: alternating 3x3 convolutions and 2x upsampling per pyramid level, then a sum.

    Panoptic Feature Pyramid Networks, Kirillov et al. 2019, https://arxiv.org/abs/1901.02446; with a configurable norm
    instead of group norm.

    Args:
        levels: levels of the backbone.
        norm: see `BackboneOptions`.
        pyramid_channels: channels of the feature pyramid.
        channels: channels of the output.

    Shape:
        dict of maps -> (N, channels, h, w) of the finest
    """

    def __init__(
        self, levels: Sequence[Level], norm: Norm = "batch", pyramid_channels: int = 256, channels: int = 128
    ) -> None:
        super().__init__()
        self.channels = channels
        self.neck = FPN(levels, pyramid_channels)
        # one convolution per 2x upsampling; the finest level, which is not upsampled, still gets one
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
                # to the size of the next finer level, not twice its own: odd sizes would drift by a pixel
                x = resized(block(x), sizes[max(0, i - step)])
            outputs.append(x)
        return torch.stack(outputs).sum(dim=0)

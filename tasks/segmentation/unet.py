"""The decoder of U-Net: from coarse to fine, each level joined by the backbone's own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vertebra.backbones import Level
from vertebra.backbones.layers import Norm
from vertebra.tasks.segmentation.layers import conv_norm, initialize, resized

WIDTHS = (256, 128, 64, 32, 16)


class UNetDecoder(nn.Module):
    """Doubles the coarsest level again and again, joins the backbone's level of that size, and convolves twice.

    U-Net: Convolutional Networks for Biomedical Image Segmentation, Ronneberger et al. 2015,
    https://arxiv.org/abs/1505.04597; with padding, bilinear doubling and a backbone as the way down. Above the
    finest level of the backbone there is nothing to join, and the map goes on to half of the image's size alone.

    Args:
        levels: a backbone's.
        norm: see `BackboneOptions`.
        widths: channels after each doubling, from coarse to fine; the last one serves for all beyond.

    Shape:
        dict of maps -> (N, channels, h, w), half the image's height and width, or the finest level's where it is finer
    """

    def __init__(self, levels: Sequence[Level], norm: Norm = "batch", widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        self.names = [level.name for level in levels]
        joined = [level.channels for level in reversed(levels[:-1])]
        finest = levels[0].reduction
        alone = 0 if not isinstance(finest, int) else max(0, finest.bit_length() - 2)  # halvings down to 2
        blocks = []
        channels = levels[-1].channels
        for i, skip in enumerate([*joined, *([0] * alone)]):
            width = widths[min(i, len(widths) - 1)]
            blocks.append(
                nn.Sequential(conv_norm(channels + skip, width, norm=norm), conv_norm(width, width, norm=norm))
            )
            channels = width
        self.blocks = nn.ModuleList(blocks)
        self.channels = channels
        initialize(self)

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        maps = [features[name] for name in self.names]
        x = maps.pop()
        for block in self.blocks:
            if maps:
                skip = maps.pop()
                x = torch.cat([resized(x, (skip.shape[2], skip.shape[3])), skip], dim=1)
            else:
                x = resized(x, (2 * x.shape[2], 2 * x.shape[3]))
            x = block(x)
        return x

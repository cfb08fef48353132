"""U-Net decoder: repeated 2x upsampling with skip connections from the backbone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vertebra.backbones import Level
from vertebra.backbones.layers import Norm
from vertebra.tasks.segmentation.layers import conv_norm, initialize, resized

WIDTHS = (256, 128, 64, 32, 16)  # as in segmentation_models_pytorch


class UNetDecoder(nn.Module):
    """U-Net decoder: per stage, 2x upsampling, concatenation with the backbone's level, and two 3x3 convolutions.

    U-Net: Convolutional Networks for Biomedical Image Segmentation, Ronneberger et al. 2015,
    https://arxiv.org/abs/1505.04597; with padded convolutions, bilinear upsampling and a backbone as encoder. Stages
    above the backbone's finest level have no skip connection.

    Args:
        levels: levels of the backbone.
        norm: see `BackboneOptions`.
        widths: channels of each stage, coarse to fine; the last one is repeated.

    Shape:
        dict of maps -> (N, channels, h, w) at half the image size, or at the finest level if that is larger
    """

    def __init__(self, levels: Sequence[Level], norm: Norm = "batch", widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        self.names = [level.name for level in levels]
        skips = [level.channels for level in reversed(levels[:-1])]
        finest = levels[0].reduction
        # log2(reduction) - 1 upsamplings lead from the finest level to half the image size
        num_without_skip = 0 if not isinstance(finest, int) else max(0, finest.bit_length() - 2)
        blocks = []
        channels = levels[-1].channels
        for i, skip in enumerate([*skips, *([0] * num_without_skip)]):
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
                # to the size of the skip, not twice its own: images of odd size have unequal halves
                x = torch.cat([resized(x, (skip.shape[2], skip.shape[3])), skip], dim=1)
            else:
                x = resized(x, (2 * x.shape[2], 2 * x.shape[3]))
            x = block(x)
        return x

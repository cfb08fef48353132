"""Atrous spatial pyramid pooling and the decoders of DeepLabV3 and DeepLabV3+."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vertebra.backbones import Level
from vertebra.backbones.layers import Norm
from vertebra.tasks.segmentation.layers import conv_norm, initialize, pooled_conv_norm, resized, separable_conv_norm

RATES_AT_16 = (6, 12, 18)  # dilations at output stride 16; doubled at 8 to keep the receptive field in image pixels


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: parallel 1x1 and dilated 3x3 convolutions and global average pooling.

    Rethinking Atrous Convolution for Semantic Image Segmentation, Chen et al. 2017, https://arxiv.org/abs/1706.05587.
    Submodule names follow torchvision. Unlike torchvision's, the image-pooling branch trains on a batch of one image.

    Args:
        in_channels: channels of the input map.
        rates: dilations of the 3x3 convolutions.
        channels: channels of each branch and of the output.
        norm: see `BackboneOptions`.
        separable: use depthwise separable instead of full 3x3 convolutions.
        drop_rate: dropout on the output, in 0..1.

    Shape:
        (N, in_channels, H, W) -> (N, channels, H, W)
    """

    def __init__(
        self,
        in_channels: int,
        rates: Sequence[int],
        channels: int = 256,
        norm: Norm = "batch",
        separable: bool = False,
        drop_rate: float = 0.5,
    ) -> None:
        super().__init__()
        dilated = separable_conv_norm if separable else conv_norm
        self.convs = nn.ModuleList(
            [
                conv_norm(in_channels, channels, kernel_size=1, norm=norm),
                *(dilated(in_channels, channels, dilation=rate, norm=norm) for rate in rates),
                pooled_conv_norm(in_channels, channels, 1, norm),
            ]
        )
        projection = conv_norm(len(self.convs) * channels, channels, kernel_size=1, norm=norm)
        self.project = nn.Sequential(*projection, nn.Dropout(drop_rate))

    def forward(self, x: Tensor) -> Tensor:
        size = (x.shape[2], x.shape[3])
        # the pooled branch is a single pixel; the others have this size already
        return self.project(torch.cat([resized(branch(x), size) for branch in self.convs], dim=1))


class DeepLabV3Decoder(nn.Module):
    """DeepLabV3 decoder: ASPP on the coarsest level, followed by a 3x3 convolution.

    Rethinking Atrous Convolution for Semantic Image Segmentation, Chen et al. 2017, https://arxiv.org/abs/1706.05587.

    Args:
        levels: levels of the backbone.
        norm: see `BackboneOptions`.
        channels: channels of ASPP and of the output.
        drop_rate: dropout after ASPP, in 0..1.

    Shape:
        dict of maps -> (N, channels, h, w) of the coarsest
    """

    def __init__(
        self, levels: Sequence[Level], norm: Norm = "batch", channels: int = 256, drop_rate: float = 0.5
    ) -> None:
        super().__init__()
        self.level = levels[-1].name
        self.channels = channels
        self.aspp = ASPP(levels[-1].channels, aspp_rates(levels[-1]), channels, norm, drop_rate=drop_rate)
        self.fuse = conv_norm(channels, channels, norm=norm)
        initialize(self)

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        return self.fuse(self.aspp(features[self.level]))


class DeepLabV3PlusDecoder(nn.Module):
    """DeepLabV3+ decoder: ASPP on the coarsest level, upsampled and fused with a skip from the finest level.

    Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation, Chen et al. 2018,
    https://arxiv.org/abs/1802.02611, with its two 3x3 convolutions after the concatenation.

    Args:
        levels: levels of the backbone.
        norm: see `BackboneOptions`.
        channels: channels of ASPP and of the output.
        skip_channels: channels of the projected finest level; few, so that it does not outweigh the coarsest.
        separable: use depthwise separable instead of full 3x3 convolutions.
        drop_rate: dropout after ASPP, in 0..1.

    Shape:
        dict of maps -> (N, channels, h, w) of the finest
    """

    def __init__(
        self,
        levels: Sequence[Level],
        norm: Norm = "batch",
        channels: int = 256,
        skip_channels: int = 48,
        separable: bool = True,
        drop_rate: float = 0.5,
    ) -> None:
        super().__init__()
        fine, coarse = levels[0], levels[-1]
        block = separable_conv_norm if separable else conv_norm
        self.names = fine.name, coarse.name
        self.channels = channels
        self.aspp = ASPP(coarse.channels, aspp_rates(coarse), channels, norm, separable, drop_rate)
        self.skip = conv_norm(fine.channels, skip_channels, kernel_size=1, norm=norm)
        self.fuse = nn.Sequential(
            block(channels + skip_channels, channels, norm=norm), block(channels, channels, norm=norm)
        )
        initialize(self)

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        fine, coarse = (features[name] for name in self.names)
        size = (fine.shape[2], fine.shape[3])
        return self.fuse(torch.cat([resized(self.aspp(coarse), size), self.skip(fine)], dim=1))


def aspp_rates(level: Level) -> tuple[int, ...]:
    """Return ASPP dilations with equal receptive field in image pixels: (12, 24, 36) at 8, (6, 12, 18) at 16.

    Args:
        level: a level of a 2-D backbone.
    """
    reduction: int = level.reduction  # type: ignore[assignment]  # `Segmenter` refuses 3-D backbones
    return tuple(max(1, rate * 16 // reduction) for rate in RATES_AT_16)

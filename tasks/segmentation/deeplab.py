"""The decoders of DeepLab: one level seen through several windows at once, and for V3+ a fine level beside it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vertebra.backbones import Level
from vertebra.backbones.layers import Norm
from vertebra.tasks.segmentation.layers import conv_norm, initialize, pooled_conv_norm, resized, separable_conv_norm

RATES_AT_16 = (6, 12, 18)  # dilations at output stride 16; at 8 they are twice as large, to see as much of the image


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: a 1x1 convolution, dilated 3x3 ones and the image's mean, side by side.

    Rethinking Atrous Convolution for Semantic Image Segmentation, Chen et al. 2017, https://arxiv.org/abs/1706.05587.
    Submodules carry torchvision's names. The norm behind the image's mean stands a batch of one image.

    Args:
        in_channels: of the map.
        rates: dilations of the 3x3 convolutions.
        channels: of each branch, and of the output.
        norm: see `BackboneOptions`.
        separable: depthwise and pointwise instead of full 3x3 convolutions.
        drop_rate: of the output, in training.

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
        return self.project(torch.cat([resized(branch(x), size) for branch in self.convs], dim=1))


class DeepLabV3Decoder(nn.Module):
    """ASPP on the coarsest level and a 3x3 convolution behind it.

    Rethinking Atrous Convolution for Semantic Image Segmentation, Chen et al. 2017, https://arxiv.org/abs/1706.05587.

    Args:
        levels: a backbone's.
        norm: see `BackboneOptions`.
        channels: of ASPP and of the output.
        drop_rate: behind ASPP, in training.

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
    """ASPP on the coarsest level, brought to the size of the finest, which joins it with few channels.

    Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation, Chen et al. 2018,
    https://arxiv.org/abs/1802.02611. Two 3x3 convolutions behind the concatenation, as there.

    Args:
        levels: a backbone's.
        norm: see `BackboneOptions`.
        channels: of ASPP and of the output.
        skip_channels: that the finest level is reduced to, lest it outweigh the coarsest.
        separable: depthwise and pointwise instead of full 3x3 convolutions.
        drop_rate: behind ASPP, in training.

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
    """Return the dilations that see the same parts of the image at any reduction: (12, 24, 36) at 8, (6, 12, 18) at 16.

    Args:
        level: of a 2-D backbone.
    """
    reduction: int = level.reduction  # type: ignore[assignment]  # `assemble` refuses levels of clips
    return tuple(max(1, rate * 16 // reduction) for rate in RATES_AT_16)

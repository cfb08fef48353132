"""The neck of SSD: the maps of the backbone, and coarser ones made one of the other."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vertebra.backbones.backbone import Level
from vertebra.backbones.cpu_convolutions import Conv2d
from vertebra.backbones.layers import Norm, norm_layer
from vertebra.backbones.pyramid import pyramid_levels
from vertebra.tasks.detection.networks.ssd.layout import SSDLayout, Window

POINT = Window(1, 1, 0)
HALVING = Window(3, 2, 1)


def conv_layer(
    in_channels: int, channels: int, window: Window, norm: Norm | None, act: nn.Module, groups: int = 1
) -> nn.Sequential:
    """Build a convolution, a norm (or a bias in its place) and an activation."""
    convolution = Conv2d(in_channels, channels, *window, groups=groups, bias=norm is None)
    return nn.Sequential(convolution, *([norm_layer(2, channels, norm)] if norm else []), act)


class ExtraLevel(nn.Sequential):
    """A 1x1 convolution to half of the channels, and one that makes the next level of them.

    With `depthwise`, the second is a depthwise one and a 1x1, and activations are ReLU6, as in SSDLite: MobileNetV2,
    Sandler et al. 2018, https://arxiv.org/abs/1801.04381.

    Shape:
        (N, in_channels, H, W) -> (N, channels, H', W'); a map that is smaller than the kernel is padded to it
    """

    def __init__(
        self, in_channels: int, channels: int, window: Window, norm: Norm | None, depthwise: bool = False
    ) -> None:
        hidden = channels // 2
        if depthwise:
            super().__init__(
                conv_layer(in_channels, hidden, POINT, norm, nn.ReLU6(inplace=True)),
                conv_layer(hidden, hidden, window, norm, nn.ReLU6(inplace=True), groups=hidden),
                conv_layer(hidden, channels, POINT, norm, nn.ReLU6(inplace=True)),
            )
        else:
            super().__init__(
                conv_layer(in_channels, hidden, POINT, norm, nn.ReLU(inplace=True)),
                conv_layer(hidden, channels, window, norm, nn.ReLU(inplace=True)),
            )
        self.least = window.kernel_size - 2 * window.padding

    def forward(self, x: Tensor) -> Tensor:
        missing = [torch.sym_max(0, self.least - size) for size in x.shape[:1:-1]]  # of the width, then of the height
        # in an exported graph the sizes are symbols, and the padding may be 0
        if torch.compiler.is_exporting() or any(missing):
            x = F.pad(x, (0, missing[0], 0, missing[1]))  # type: ignore[arg-type]  # symbols are integers, too
        return super().forward(x)


class ExtraLevels(nn.Module):
    """The pyramid of SSD: the backbone's maps as they are, and extra levels behind the coarsest.

    Args:
        levels: of the backbone; those finer than `layout.finest` are not used, as long as there are others.
        layout: of the levels.
        norm: of the extra levels, or None for biases instead.

    Attributes:
        levels: of the pyramid: P3 for C3 and so on. Reductions of those that the layout's last convolutions make are
            only about right.
        steps: distance in pixels between two pixels of each level, which is its reduction; None for those last
            ones, whose pixels are spread evenly over the image.

    Shape:
        dict of C3.. -> dict of P3.., each (N, level.channels, H_l, W_l)

    Raises:
        ValueError: the levels are those of clips or volumes.
    """

    def __init__(self, levels: Sequence[Level], layout: SSDLayout, norm: Norm | None = None) -> None:
        super().__init__()
        finer = [level.reduction < layout.finest for level in levels if isinstance(level.reduction, int)]
        if len(finer) < len(levels):
            raise ValueError(
                f"the levels are {[tuple(level) for level in levels]}; SSD is for images: take a 2-D backbone."
            )
        levels = levels[min(sum(finer), len(levels) - 1) :]
        self.inputs = [level.name for level in levels]
        num_halved = len(layout.channels) - len(layout.last)
        windows = (HALVING,) * num_halved + layout.last
        pyramid = pyramid_levels(levels, 0, len(layout.channels) - len(levels))
        widths = [level.channels for level in levels]
        self.extra = nn.ModuleList()
        for channels, window in list(zip(layout.channels, windows, strict=True))[len(widths) :]:
            self.extra.append(ExtraLevel(widths[-1], channels, window, norm, layout.depthwise))
            widths.append(channels)
        self.levels = tuple(level._replace(channels=width) for level, width in zip(pyramid, widths, strict=True))
        halved = [level.reduction for level in pyramid[:num_halved] if isinstance(level.reduction, int)]
        self.steps = (*halved, *(None for _ in layout.last))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        maps = [features[name] for name in self.inputs]
        for level in self.extra:
            maps.append(level(maps[-1]))
        return {level.name: x for level, x in zip(self.levels, maps, strict=True)}

"""The head of SSD: a convolution on each level for classes and boxes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from vertebra.backbones.backbone import Level
from vertebra.backbones.layers import Norm, conv
from vertebra.tasks.detection.networks.ssd.extra_levels import conv_layer
from vertebra.tasks.detection.networks.ssd.layout import Window


class SSDHead(nn.Module):
    """Class logits, of which the first is the background, and box deltas for every default box.

    Args:
        levels: of the pyramid.
        num_anchors: at each pixel, of each level.
        num_classes: K, without the background.
        depthwise: as in SSDLite, a depthwise convolution before a 1x1, in place of one of 3x3.
        norm: behind the depthwise convolutions, or None.

    Shape:
        list of (N, level.channels, H_l, W_l) -> lists of logits (N, A_l, K + 1) and deltas (N, A_l, 4), float32, in the
        order of the default boxes
    """

    def __init__(
        self,
        levels: Sequence[Level],
        num_anchors: Sequence[int],
        num_classes: int,
        depthwise: bool = False,
        norm: Norm | None = None,
    ) -> None:
        super().__init__()
        self.num_logits = num_classes + 1

        def layers(width: int) -> nn.ModuleList:
            widths = [(level.channels, count * width) for level, count in zip(levels, num_anchors, strict=True)]
            return nn.ModuleList(_predictor(*channels, depthwise, norm) for channels in widths)

        self.cls_logits = layers(self.num_logits)
        self.bbox_reg = layers(4)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, maps: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        logits, deltas = [], []
        for x, of_classes, of_boxes in zip(maps, self.cls_logits, self.bbox_reg, strict=True):
            logits.append(of_classes(x).permute(0, 2, 3, 1).reshape(x.shape[0], -1, self.num_logits).float())
            deltas.append(of_boxes(x).permute(0, 2, 3, 1).reshape(x.shape[0], -1, 4).float())
        return logits, deltas


def _predictor(in_channels: int, channels: int, depthwise: bool, norm: Norm | None) -> nn.Module:
    if not depthwise:
        return conv(2, in_channels, channels, kernel_size=3, bias=True)
    window = Window(3, 1, 1)
    spatial = conv_layer(in_channels, in_channels, window, norm, nn.ReLU6(inplace=True), groups=in_channels)
    return nn.Sequential(spatial, conv(2, in_channels, channels, kernel_size=1, bias=True))

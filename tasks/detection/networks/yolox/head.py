"""The decoupled head of YOLOX: classes beside boxes and objectness."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from vertebra.backbones.backbone import Level
from vertebra.backbones.csp import conv_norm
from vertebra.backbones.layers import Norm
from vertebra.tasks.detection.parts.layers import start_at_prior


class YOLOXHead(nn.Module):
    """Class logits, boxes and objectness at every pixel, by weights of their own on each level.

    Args:
        levels: of the pyramid.
        channels: of the branches.
        num_classes: K, without the background.
        norm: see `BackboneOptions`.

    Shape:
        list of (N, level.channels, H_l, W_l) -> lists of class logits (N, P_l, K), boxes (N, P_l, 4) as `CellCoder`
        decodes them, and logits of an object (N, P_l), float32, row by row
    """

    def __init__(self, levels: Sequence[Level], channels: int, num_classes: int, norm: Norm = "batch") -> None:
        super().__init__()

        def branches() -> nn.ModuleList:
            return nn.ModuleList(
                nn.Sequential(*[conv_norm(channels, channels, 3, norm) for _ in range(2)]) for _ in levels
            )

        def predictors(width: int) -> nn.ModuleList:
            return nn.ModuleList(nn.Conv2d(channels, width, kernel_size=1) for _ in levels)

        self.stems = nn.ModuleList(conv_norm(level.channels, channels, 1, norm) for level in levels)
        self.cls_convs, self.reg_convs = branches(), branches()
        self.cls_preds, self.reg_preds, self.obj_preds = predictors(num_classes), predictors(4), predictors(1)
        for predictor in (*self.cls_preds, *self.obj_preds):
            start_at_prior(cast(nn.Conv2d, predictor))

    def forward(self, maps: list[Tensor]) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        logits, deltas, objectness = [], [], []
        for i, x in enumerate(maps):
            x = self.stems[i](x)
            of_classes, of_boxes = self.cls_convs[i](x), self.reg_convs[i](x)
            logits.append(self.cls_preds[i](of_classes).permute(0, 2, 3, 1).flatten(1, 2).float())
            deltas.append(self.reg_preds[i](of_boxes).permute(0, 2, 3, 1).flatten(1, 2).float())
            objectness.append(self.obj_preds[i](of_boxes).flatten(1).float())
        return logits, deltas, objectness

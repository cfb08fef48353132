"""Mask R-CNN on a feature pyramid.

Mask R-CNN, He et al. 2017, https://arxiv.org/abs/1703.06870
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vertebra.backbones.backbone import Level
from vertebra.backbones.layers import Norm
from vertebra.tasks.detection.networks.faster_rcnn import FasterRCNN
from vertebra.tasks.detection.parts.mask_branch import POOLED, MaskBranch, MaskHead, MaskPredictor
from vertebra.tasks.detection.parts.roi_align import RoIAlign
from vertebra.tasks.detection.parts.roi_heads import RoIBranch


class MaskRCNN(FasterRCNN):
    """Faster R-CNN with a mask for each detection.

    With the backbone `resnet50` it is torchvision's `maskrcnn_resnet50_fpn`, and with `head_norm` batch, which the
    convolutions of the mask branch then have too, and `rpn_convs` 2 its `maskrcnn_resnet50_fpn_v2`.

    Args:
        all: of `FasterRCNN`.

    Shape:
        as `FasterRCNN`, with `masks` in the targets, see `pad_targets`, and a fifth loss, `loss_mask`; a detection has
        `mask_probs` (D, 28, 28) float32 in 0..1 over its box, which `paste_masks` turns into pixels
    """

    compiled = (*FasterRCNN.compiled, "roi_heads.branches.mask.head", "roi_heads.branches.mask.predictor")
    class_layers = (*FasterRCNN.class_layers, "roi_heads.branches.mask.predictor.mask_fcn_logits")

    @classmethod
    def has_masks(cls, options: Mapping[str, Any]) -> bool:
        return True

    def branches(
        self, levels: Sequence[Level], channels: int, num_classes: int, norm: Norm | None
    ) -> Mapping[str, RoIBranch]:
        pooler = RoIAlign(levels, output_size=POOLED)
        return {"mask": MaskBranch(pooler, MaskHead(channels, norm), MaskPredictor(channels, num_classes))}


mask_rcnn = MaskRCNN

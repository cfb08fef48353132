"""YOLOX: a one-stage detector without anchors, with a decoupled head.

YOLOX: Exceeding YOLO Series in 2021, Ge et al. 2021, https://arxiv.org/abs/2107.08430
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from vertebra.backbones import Backbone
from vertebra.backbones.cspdarknet import SIZES
from vertebra.backbones.layers import Norm
from vertebra.backbones.resolve import resolve_backbone
from vertebra.backbones.warm_start import warm_start
from vertebra.tasks.detection.networks.dense import DenseDetector, Outputs
from vertebra.tasks.detection.networks.yolox.csp_pafpn import CSPPAFPN
from vertebra.tasks.detection.networks.yolox.head import YOLOXHead
from vertebra.tasks.detection.networks.yolox.sim_ota import SimOTA
from vertebra.tasks.detection.parts.assigners import IGNORE, Predictions
from vertebra.tasks.detection.parts.batch import Targets
from vertebra.tasks.detection.parts.box_coder import CellCoder
from vertebra.tasks.detection.parts.boxes import clip, paired_iou, take
from vertebra.tasks.detection.parts.candidates import Candidates
from vertebra.tasks.detection.parts.default_boxes import DefaultBoxes
from vertebra.tasks.detection.parts.detection_rows import DetectionRows
from vertebra.tasks.detection.parts.losses import SmoothL1, SquaredIoU
from vertebra.tasks.detection.parts.selection import DetectionSelection, select_detections

SizeName = Literal["tiny", "s", "m", "l", "x"]

IOU_WEIGHT = 5.0
# of the large network: channels of P3 to P5 and of the head, blocks of the neck's layers
WIDTHS, HEAD_WIDTH, NUM_BLOCKS = (256, 512, 1024), 256, 3


class YOLOX(DenseDetector):
    """A one-stage detector: every pixel of the pyramid is classified beside a box and whether there is an object.

    With the backbone `cspdarknet_s` and the size `s` (`tiny`, `m`, `l` and `x` likewise) it is the authors' network,
    whose weights load as they are; they are for pixels of 0 to 255, `mean` 0 and `std` 1/255. The authors pad images
    with gray; here the padding is 0 behind the normalization.

    Args:
        backbone: a registered name, or a backbone with any options; its three coarsest levels are used.
        num_classes: K, the things to find, without the background.
        in_channels: for a backbone given by name: channels of the images, 3 if not given; `weights` are adapted to
            them.
        weights: for a backbone given by name: a path, `pretrained`, or the name of published weights. A checkpoint of
            `vertebra fit` fills all of the network that fits, see `vertebra.backbones.warm_start`.
        norm: for a backbone given by name: `batch` (if not given), `frozen`, `sync` or `group`.
        head_norm: norm of the pyramid and the head.
        size: of the pyramid and the head.
        detections: which detections are reported.

    Shape:
        as `Detector`; the losses are `loss_classifier`, `loss_objectness`, `loss_box_iou` and, where `l1` is on,
        `loss_box_l1`, each a sum over the points of all images, divided by the number of points that are objects

    Attributes:
        l1: whether the L1 distance of boxes is a loss, too; the authors turn it on for the last epochs.

    Raises:
        ValueError: an argument for a named backbone beside a built one, or one that a part refuses.
        FileNotFoundError: there are no such weights.
    """

    class_layers = ("head.cls_preds",)
    renames = (
        *DenseDetector.renames,
        # the authors' neck holds the backbone
        (r"^backbone\.backbone\.", "backbone."),
        (r"^backbone\.lateral_conv0\.", "neck.lateral_convs.0."),
        (r"^backbone\.reduce_conv1\.", "neck.lateral_convs.1."),
        (r"^backbone\.C3_p4\.", "neck.fpn_blocks.0."),
        (r"^backbone\.C3_p3\.", "neck.fpn_blocks.1."),
        (r"^backbone\.bu_conv2\.", "neck.downsample_convs.0."),
        (r"^backbone\.bu_conv1\.", "neck.downsample_convs.1."),
        (r"^backbone\.C3_n3\.", "neck.pan_blocks.0."),
        (r"^backbone\.C3_n4\.", "neck.pan_blocks.1."),
    )

    def __init__(
        self,
        backbone: str | Backbone,
        num_classes: int,
        *,
        in_channels: int | None = None,
        weights: str | None = None,
        norm: Norm | None = None,
        head_norm: Norm = "batch",
        size: SizeName = "s",
        detections: DetectionSelection | None = None,
    ) -> None:
        if size not in SIZES:
            raise ValueError(f"size is {size!r}; choose {', '.join(SIZES)}.")
        depth, width = SIZES[size]
        backbone = resolve_backbone(backbone, in_channels=in_channels, norm=norm, weights=weights)
        widths = [int(width * channels) for channels in WIDTHS]
        neck = CSPPAFPN(backbone.levels[-3:], widths, round(NUM_BLOCKS * depth), head_norm)
        strides = [level.reduction for level in neck.levels if isinstance(level.reduction, int)]
        cells = DefaultBoxes([[(stride, stride)] for stride in strides], strides)
        head = YOLOXHead(neck.levels, int(width * HEAD_WIDTH), num_classes, head_norm)
        super().__init__(backbone, neck, cells, head, SimOTA())
        self.selection = detections or DetectionSelection(score_threshold=0.01, nms_threshold=0.65, per_image=300)
        self.box_loss = SquaredIoU()
        self.coder = CellCoder()
        self.l1 = False
        warm_start(self, weights)

    def compare(self, outputs: Outputs, cells: Candidates, targets: Targets) -> dict[str, Tensor]:
        logits, deltas, objectness = (torch.cat(levels, dim=1) for levels in outputs)
        with torch.no_grad():
            found = self.coder.decode(deltas, cells.boxes)
            scores = (logits.sigmoid() * objectness.sigmoid().unsqueeze(-1)).sqrt()
        objects, labels = self.assigner(cells, targets, Predictions(scores, found))
        is_object = labels > 0
        count = is_object.sum().clamp(min=1)
        boxes = take(targets.boxes, objects)
        box_loss = self.box_loss(self.coder, deltas, cells.boxes, boxes, is_object)
        overlaps = paired_iou(found, boxes)  # which the score of a point is to be
        is_class = labels.unsqueeze(-1) == torch.arange(1, logits.shape[-1] + 1, device=labels.device)
        of_classes = F.binary_cross_entropy_with_logits(logits, is_class * overlaps.unsqueeze(-1), reduction="none")
        of_objects = F.binary_cross_entropy_with_logits(objectness, is_object.to(objectness.dtype), reduction="none")
        losses = {
            "loss_classifier": of_classes.sum(dim=-1).masked_fill(~is_object, 0.0).sum() / count,
            "loss_objectness": of_objects.masked_fill(labels == IGNORE, 0.0).sum() / count,
            "loss_box_iou": IOU_WEIGHT * box_loss.sum() / count,
        }
        if self.l1:
            distance = SmoothL1(beta=0.0)(self.coder, deltas, cells.boxes, boxes, is_object)
            losses["loss_box_l1"] = distance.sum() / count
        return losses

    @torch.no_grad()
    def select(self, outputs: Outputs, cells: Candidates, sizes: Tensor) -> DetectionRows:
        logits, deltas, objectness = (torch.cat(levels, dim=1) for levels in outputs)
        boxes = clip(self.coder.decode(deltas, cells.boxes), sizes)
        best = logits.sigmoid().max(dim=-1)
        scores = best.values * objectness.sigmoid()
        return select_detections(boxes, scores, best.indices, logits.shape[-1], self.selection)

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a state dict with this network's keys; the backbone's stem may be another convolution."""
        renamed = super().own_names(state)
        prefix = "backbone."
        body = {key.removeprefix(prefix): value for key, value in renamed.items() if key.startswith(prefix)}
        others = {key: value for key, value in renamed.items() if not key.startswith(prefix)}
        return {f"{prefix}{key}": value for key, value in self.backbone.own_names(body).items()} | others


yolox = YOLOX

"""FCOS: a one-stage detector without anchors.

FCOS: Fully Convolutional One-Stage Object Detection, Tian et al. 2019, https://arxiv.org/abs/1904.01355
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vertebra.backbones import Backbone
from vertebra.backbones.layers import Norm
from vertebra.backbones.necks import NeckName, create_neck
from vertebra.backbones.resolve import resolve_backbone
from vertebra.backbones.warm_start import warm_start
from vertebra.tasks.detection.networks.dense import DenseDetector, Outputs
from vertebra.tasks.detection.networks.torchvision_names import HEAD_NAMES, without_background
from vertebra.tasks.detection.parts.anchors import fitting_anchors
from vertebra.tasks.detection.parts.assigners import Assigner, CenterAssigner
from vertebra.tasks.detection.parts.batch import Targets
from vertebra.tasks.detection.parts.box_coder import DistanceCoder
from vertebra.tasks.detection.parts.boxes import take
from vertebra.tasks.detection.parts.candidates import Candidates
from vertebra.tasks.detection.parts.detection_rows import DetectionRows
from vertebra.tasks.detection.parts.layers import conv_stack, initialize_head
from vertebra.tasks.detection.parts.losses import BoxLoss, GIoU, sigmoid_focal_loss
from vertebra.tasks.detection.parts.selection import DenseSelection, select_dense


class FCOSHead(nn.Module):
    """Class logits, distances to the four sides and centerness at every pixel, by the same weights on every level.

    Distances are in strides and made positive by a ReLU, as in torchvision; the paper has an exponential, with a
    factor to each level that is learned.

    Args:
        channels: of the pyramid.
        num_classes: K, without the background.
        norm: behind each convolution (see `BackboneOptions`), or None.

    Shape:
        list of (N, channels, H_l, W_l) -> lists of logits (N, P_l, K), distances (N, P_l, 4) and logits of the
        centerness (N, P_l), float32, row by row
    """

    def __init__(self, channels: int, num_classes: int, norm: Norm | None = "group") -> None:
        super().__init__()
        self.num_classes = num_classes
        self.cls_conv = nn.Sequential(*conv_stack(channels, 4, norm, bias=True))
        self.box_conv = nn.Sequential(*conv_stack(channels, 4, norm, bias=True))
        self.cls_logits = nn.Conv2d(channels, num_classes, kernel_size=3, padding=1)
        self.bbox_reg = nn.Conv2d(channels, 4, kernel_size=3, padding=1)
        self.centerness = nn.Conv2d(channels, 1, kernel_size=3, padding=1)
        initialize_head(self, self.cls_logits)

    def forward(self, maps: list[Tensor]) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        logits, distances, centerness = [], [], []
        for x in maps:
            of_classes, of_boxes = self.cls_logits(self.cls_conv(x)), self.box_conv(x)
            logits.append(of_classes.permute(0, 2, 3, 1).flatten(1, 2).float())
            distances.append(F.relu(self.bbox_reg(of_boxes)).permute(0, 2, 3, 1).flatten(1, 2).float())
            centerness.append(self.centerness(of_boxes).flatten(1).float())
        return logits, distances, centerness


class FCOS(DenseDetector):
    """A one-stage detector: every pixel of the pyramid is classified, and measured to the four sides of its object.

    It works on P3 to P7; with the backbone `resnet50` it is torchvision's `fcos_resnet50_fpn`.

    Args:
        backbone: a registered name, or a backbone with any options; its three coarsest levels are used.
        num_classes: K, the things to find, without the background.
        in_channels: for a backbone given by name: channels of the images, 3 if not given; `weights` are adapted to
            them.
        weights: for a backbone given by name: a path, `pretrained`, or the name of published weights. A checkpoint of
            `vertebra fit` fills all of the network that fits, see `vertebra.backbones.warm_start`.
        norm: for a backbone given by name: `batch` (if not given), `frozen`, `sync` or `group`.
        head_norm: norm of the head's convolutions; None for no norm.
        neck: what makes the pyramid: `fpn`, `pafpn` or `bifpn`.
        channels: of the pyramid.
        extra: what P6 is made of: C5 (`conv`) or P5 (`conv_p5`, as in the paper).
        detections: which detections are reported.
        box_loss: `GIoU` or `SmoothL1` of `vertebra.tasks.detection.parts.losses`; GIoU if not given.
        assigner: which object each point is to learn: `CenterAssigner`, as in the paper if not given, or `ATSS` with
            a `scale` of 8.

    Shape:
        as `Detector`; the losses are `loss_classifier`, `loss_box_reg` and `loss_centerness`, each a sum over the
        points of all images, divided by the number of points that are objects

    Raises:
        ValueError: an argument for a named backbone beside a built one, or one that a part refuses.
        FileNotFoundError: there are no such weights.
    """

    class_layers = ("head.cls_logits",)
    renames = (
        *DenseDetector.renames,
        *HEAD_NAMES,
        (r"^head\.regression_head\.bbox_ctrness\.", "head.centerness."),
        # a flat sequence of convolution, norm and ReLU
        *(
            (rf"^head\.(cls|box)_conv\.{3 * i + part}\.(weight|bias)$", rf"head.\1_conv.{i}.{part}.\2")
            for i in range(4)
            for part in range(2)
        ),
    )

    def __init__(
        self,
        backbone: str | Backbone,
        num_classes: int,
        *,
        in_channels: int | None = None,
        weights: str | None = None,
        norm: Norm | None = None,
        head_norm: Norm | None = "group",
        neck: NeckName = "fpn",
        channels: int = 256,
        extra: Literal["conv", "conv_p5"] = "conv_p5",
        detections: DenseSelection | None = None,
        box_loss: BoxLoss | None = None,
        assigner: Assigner | None = None,
    ) -> None:
        backbone = resolve_backbone(backbone, in_channels=in_channels, norm=norm, weights=weights)
        pyramid = create_neck(neck, backbone.levels[-3:], channels, extra=extra)
        points = fitting_anchors(pyramid.levels, scales=(1.0,), aspect_ratios=(1.0,))  # squares of a stride
        head = FCOSHead(channels, num_classes, norm=head_norm)
        super().__init__(backbone, pyramid, points, head, assigner or CenterAssigner())
        self.selection = detections or DenseSelection(score_threshold=0.2, nms_threshold=0.6)
        self.box_loss = box_loss or GIoU()
        self.coder = DistanceCoder()
        warm_start(self, weights)

    def compare(self, outputs: Outputs, points: Candidates, targets: Targets) -> dict[str, Tensor]:
        logits, distances, centerness = (torch.cat(levels, dim=1) for levels in outputs)
        objects, labels = self.assigner(points, targets)
        is_object = labels > 0
        count = is_object.sum().clamp(min=1)
        boxes = take(targets.boxes, objects)
        loss_box_reg = self.box_loss(self.coder, distances, points.boxes, boxes, is_object).sum()
        wanted = centerness_of(self.coder.encode(boxes, points.boxes)).where(is_object, 0.0)
        loss_centerness = F.binary_cross_entropy_with_logits(
            centerness, wanted, weight=is_object.to(wanted.dtype), reduction="sum"
        )
        return {
            "loss_classifier": sigmoid_focal_loss(logits, labels).sum() / count,
            "loss_box_reg": loss_box_reg / count,
            "loss_centerness": loss_centerness / count,
        }

    def select(self, outputs: Outputs, points: Candidates, sizes: Tensor) -> DetectionRows:
        logits, distances, centerness = outputs
        scores = [
            (x.sigmoid() * center.sigmoid()[..., None]).sqrt() for x, center in zip(logits, centerness, strict=True)
        ]
        return select_dense(scores, distances, points, self.coder, sizes, self.selection)

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a state dict with this network's keys; torchvision's has a class more, the background, which goes."""
        return super().own_names(without_background(state, num_anchors=1))


def centerness_of(distances: Tensor) -> Tensor:
    """Return how central points are from their `distances` (..., 4) to the sides: (...), 1 at the center, 0 at a side.

    Where a distance is negative the number means nothing.
    """
    left, top, right, bottom = distances.unbind(-1)
    x = torch.minimum(left, right) / torch.maximum(left, right)
    y = torch.minimum(top, bottom) / torch.maximum(top, bottom)
    return (x * y).sqrt()


fcos = FCOS

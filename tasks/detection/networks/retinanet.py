"""RetinaNet: a one-stage detector with a focal loss.

Focal Loss for Dense Object Detection, Lin et al. 2017, https://arxiv.org/abs/1708.02002
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from vertebra.backbones import Backbone
from vertebra.backbones.layers import Norm
from vertebra.backbones.necks import NeckName, create_neck
from vertebra.backbones.resolve import resolve_backbone
from vertebra.backbones.warm_start import warm_start
from vertebra.tasks.detection.networks.dense import DenseDetector, Outputs
from vertebra.tasks.detection.networks.torchvision_names import HEAD_NAMES, without_background
from vertebra.tasks.detection.parts.anchors import AnchorGenerator, fitting_anchors
from vertebra.tasks.detection.parts.assigners import Assigner, IoUAssigner
from vertebra.tasks.detection.parts.batch import Targets
from vertebra.tasks.detection.parts.box_coder import BoxCoder
from vertebra.tasks.detection.parts.boxes import take
from vertebra.tasks.detection.parts.candidates import Candidates
from vertebra.tasks.detection.parts.detection_rows import DetectionRows
from vertebra.tasks.detection.parts.layers import conv_stack, initialize_head
from vertebra.tasks.detection.parts.losses import BoxLoss, SmoothL1, sigmoid_focal_loss
from vertebra.tasks.detection.parts.selection import DenseSelection, select_dense

OCTAVE_SCALES = tuple(4 * 2 ** (i / 3) for i in range(3))  # sizes of the anchors over the reduction of their level


class RetinaNetHead(nn.Module):
    """Class logits and box deltas for every anchor, by two stacks of convolutions that all levels share.

    Args:
        channels: of the pyramid.
        num_anchors: at each pixel.
        num_classes: K, without the background.
        norm: behind each convolution (see `BackboneOptions`), or None.

    Shape:
        list of (N, channels, H_l, W_l) -> lists of logits (N, A_l, K) and deltas (N, A_l, 4), float32, in the order of
        the anchors
    """

    def __init__(self, channels: int, num_anchors: int, num_classes: int, norm: Norm | None = None) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.cls_conv = nn.Sequential(*conv_stack(channels, 4, norm))
        self.box_conv = nn.Sequential(*conv_stack(channels, 4, norm))
        self.cls_logits = nn.Conv2d(channels, num_anchors * num_classes, kernel_size=3, padding=1)
        self.bbox_reg = nn.Conv2d(channels, num_anchors * 4, kernel_size=3, padding=1)
        initialize_head(self, self.cls_logits)

    def forward(self, maps: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        logits, deltas = [], []
        for x in maps:
            of_classes, of_boxes = self.cls_logits(self.cls_conv(x)), self.bbox_reg(self.box_conv(x))
            logits.append(of_classes.permute(0, 2, 3, 1).reshape(x.shape[0], -1, self.num_classes).float())
            deltas.append(of_boxes.permute(0, 2, 3, 1).reshape(x.shape[0], -1, 4).float())
        return logits, deltas


class RetinaNet(DenseDetector):
    """A one-stage detector: a head on every level of the pyramid classifies and corrects anchors.

    It works on P3 to P7; with the backbone `resnet50` it is torchvision's `retinanet_resnet50_fpn`, and with
    `head_norm` group, `extra` conv and `box_loss` GIoU its `retinanet_resnet50_fpn_v2`.

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
        extra: what P6 is made of: C5 (`conv`, as in the paper) or P5 (`conv_p5`).
        anchors: if not given, of three sizes a level, 4 times its reduction and up (32 to 813 for P3 to P7), and
            three shapes.
        detections: which detections are reported.
        box_loss: `SmoothL1` or `GIoU` of `vertebra.tasks.detection.parts.losses`; L1 if not given.
        assigner: which object each anchor is to learn: `IoUAssigner`, as in the paper if not given, or `ATSS`.

    Shape:
        as `Detector`; the losses are `loss_classifier` and `loss_box_reg`, each the mean over the images of a sum over
        the anchors, divided by the number of anchors that are objects

    Raises:
        ValueError: an argument for a named backbone beside a built one, or one that a part refuses.
        FileNotFoundError: there are no such weights.
    """

    class_layers = ("head.cls_logits",)
    renames = (
        *DenseDetector.renames,
        *HEAD_NAMES,
        *((rf"^head\.(cls|box)_conv\.{2 * i}\.(weight|bias)$", rf"head.\1_conv.{i}.0.\2") for i in range(4)),
    )

    def __init__(
        self,
        backbone: str | Backbone,
        num_classes: int,
        *,
        in_channels: int | None = None,
        weights: str | None = None,
        norm: Norm | None = None,
        head_norm: Norm | None = None,
        neck: NeckName = "fpn",
        channels: int = 256,
        extra: Literal["conv", "conv_p5"] = "conv_p5",
        anchors: AnchorGenerator | None = None,
        detections: DenseSelection | None = None,
        box_loss: BoxLoss | None = None,
        assigner: Assigner | None = None,
    ) -> None:
        backbone = resolve_backbone(backbone, in_channels=in_channels, norm=norm, weights=weights)
        pyramid = create_neck(neck, backbone.levels[-3:], channels, extra=extra)
        anchors = anchors or fitting_anchors(pyramid.levels, OCTAVE_SCALES)
        head = RetinaNetHead(channels, anchors.num_anchors, num_classes, norm=head_norm)
        assigner = assigner or IoUAssigner(0.5, 0.4, allow_low_quality_matches=True)
        super().__init__(backbone, pyramid, anchors, head, assigner)
        self.selection = detections or DenseSelection(per_image=300)
        self.box_loss = box_loss or SmoothL1(beta=0.0)
        self.coder = BoxCoder()
        warm_start(self, weights)

    def compare(self, outputs: Outputs, anchors: Candidates, targets: Targets) -> dict[str, Tensor]:
        logits, deltas = outputs
        objects, labels = self.assigner(anchors, targets)
        is_object = labels > 0
        count = is_object.sum(dim=1).clamp(min=1)  # (N,)
        # level by level, since the logits are the largest tensor of a step and need no copy of all levels in one
        of_level = zip(logits, labels.split(anchors.levels, dim=1), strict=True)
        focal = torch.stack([sigmoid_focal_loss(*level).sum(dim=1) for level in of_level]).sum(dim=0)
        boxes = take(targets.boxes, objects)
        box_loss = self.box_loss(self.coder, torch.cat(deltas, dim=1), anchors.boxes, boxes, is_object)
        return {
            "loss_classifier": (focal / count).mean(),
            "loss_box_reg": (box_loss.flatten(1).sum(dim=1) / count).mean(),
        }

    def select(self, outputs: Outputs, anchors: Candidates, sizes: Tensor) -> DetectionRows:
        logits, deltas = outputs
        scores = [x.sigmoid() for x in logits]
        return select_dense(scores, deltas, anchors, self.coder, sizes, self.selection)

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a state dict with this network's keys; torchvision's has a class more, the background, which goes."""
        return super().own_names(without_background(state, num_anchors=len(self.anchors.shapes[0])))


retinanet = RetinaNet

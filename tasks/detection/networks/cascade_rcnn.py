"""Cascade R-CNN on a feature pyramid, of boxes or of masks too.

Cascade R-CNN: Delving into High Quality Object Detection, Cai and Vasconcelos 2018, https://arxiv.org/abs/1712.00726;
with masks as in Cascade R-CNN: High Quality Object Detection and Instance Segmentation, 2019,
https://arxiv.org/abs/1906.09756.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vertebra.backbones import Backbone
from vertebra.backbones.layers import Norm
from vertebra.backbones.necks import NeckName, create_neck
from vertebra.backbones.resolve import resolve_backbone
from vertebra.backbones.warm_start import warm_start
from vertebra.tasks.detection.networks.detector import Detector
from vertebra.tasks.detection.networks.two_stage import TwoStageDetector
from vertebra.tasks.detection.parts.anchors import AnchorGenerator, fitting_anchors
from vertebra.tasks.detection.parts.assigners import IoUAssigner
from vertebra.tasks.detection.parts.batch import ImageBatch, Targets
from vertebra.tasks.detection.parts.box_branch import BoxBranch, BoxPredictor, ConvHead, MLPHead
from vertebra.tasks.detection.parts.box_coder import BoxCoder
from vertebra.tasks.detection.parts.cascade_heads import CascadeHeads
from vertebra.tasks.detection.parts.losses import SmoothL1
from vertebra.tasks.detection.parts.mask_branch import POOLED, MaskBranch, MaskHead, MaskPredictor
from vertebra.tasks.detection.parts.roi_align import RoIAlign
from vertebra.tasks.detection.parts.roi_heads import RoIBranch, RoIHeads
from vertebra.tasks.detection.parts.rpn import ProposalSelection, RegionProposalNetwork, RPNHead
from vertebra.tasks.detection.parts.sampling import BalancedSampler
from vertebra.tasks.detection.parts.selection import DetectionSelection

OVERLAPS = (0.5, 0.6, 0.7)  # least intersection over union of an object's proposals, in each stage
# standard deviations of the deltas in each stage, which shrink as the boxes become more exact
DEVIATIONS = ((0.1, 0.1, 0.2, 0.2), (0.05, 0.05, 0.1, 0.1), (0.033, 0.033, 0.067, 0.067))
MASK_LAYER = "branches.mask.predictor.mask_fcn_logits"


class CascadeRCNN(TwoStageDetector):
    """A two-stage detector whose second stage is a cascade of three.

    Loads mmdetection's `CascadeRCNN` with ResNet and FPN. Boxes are pooled as in torchvision's detectors, and masks are
    learned as parts of pixels; mmdetection shifts boxes by half a pixel and rounds such parts to 0 and 1, so that its
    published weights give slightly other numbers here.

    Args:
        backbone: a registered name, or a backbone with any options.
        num_classes: K, the things to find, without the background.
        in_channels: for a backbone given by name: channels of the images, 3 if not given; `weights` are adapted to
            them.
        weights: for a backbone given by name: a path, `pretrained`, or the name of published weights. A whole network
            fills all that fits, see `vertebra.backbones.warm_start`.
        norm: for a backbone given by name: `batch` (if not given), `frozen`, `sync` or `group`.
        head_norm: as of `FasterRCNN`, and of the mask branches.
        neck: what makes the pyramid: `fpn`, `pafpn` or `bifpn`.
        channels: of the pyramid.
        anchors: as of `FasterRCNN`.
        proposals: how many proposals go on.
        detections: which detections are reported.
        rois_per_image: how many proposals of an image each stage trains on, a quarter of them objects at most.
        masks: add a mask branch to each stage: Cascade Mask R-CNN.

    Shape:
        as `Detector`; the losses are `loss_objectness` and `loss_rpn_box_reg` of the proposals, and `loss_classifier_1`
        to `_3`, `loss_box_reg_1` to `_3` and with masks `loss_mask_1` to `_3`; with masks as in `MaskRCNN` a detection
        has `mask_probs`, and the targets have `masks`

    Raises:
        ValueError: an argument for a named backbone beside a built one, or one that a part refuses.
        FileNotFoundError: there are no such weights.
    """

    roi_heads: CascadeHeads
    optional_parts = tuple(f"roi_heads.stages.{i}.branches.mask" for i in range(3))
    class_layers = tuple(
        f"roi_heads.stages.{i}.{layer}" for i in range(3) for layer in ("box.predictor.cls_score", MASK_LAYER)
    )
    renames = (
        *Detector.renames,
        (r"^neck\.lateral_convs\.(\d)\.conv\.", r"neck.inner_blocks.\1.0."),
        (r"^neck\.fpn_convs\.(\d)\.conv\.", r"neck.layer_blocks.\1.0."),
        (r"^rpn_head\.rpn_conv\.", "rpn.head.conv.0.0."),
        (r"^rpn_head\.rpn_cls\.", "rpn.head.cls_logits."),
        (r"^rpn_head\.rpn_reg\.", "rpn.head.bbox_pred."),
        (r"^roi_head\.bbox_head\.(\d)\.shared_fcs\.0\.", r"roi_heads.stages.\1.box.head.fc6."),
        (r"^roi_head\.bbox_head\.(\d)\.shared_fcs\.1\.", r"roi_heads.stages.\1.box.head.fc7."),
        (r"^roi_head\.bbox_head\.(\d)\.fc_cls\.", r"roi_heads.stages.\1.box.predictor.cls_score."),
        (r"^roi_head\.bbox_head\.(\d)\.fc_reg\.", r"roi_heads.stages.\1.box.predictor.bbox_pred."),
        (r"^roi_head\.mask_head\.(\d)\.convs\.(\d)\.conv\.", r"roi_heads.stages.\1.branches.mask.head.\2.0."),
        (r"^roi_head\.mask_head\.(\d)\.upsample\.", r"roi_heads.stages.\1.branches.mask.predictor.conv5_mask."),
        (r"^roi_head\.mask_head\.(\d)\.conv_logits\.", rf"roi_heads.stages.\1.{MASK_LAYER}."),
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
        anchors: AnchorGenerator | None = None,
        proposals: ProposalSelection | None = None,
        detections: DetectionSelection | None = None,
        rois_per_image: int = 512,
        masks: bool = False,
    ) -> None:
        backbone = resolve_backbone(backbone, in_channels=in_channels, norm=norm, weights=weights)
        pyramid = create_neck(neck, backbone.levels, channels, extra="pool", norm=head_norm)
        super().__init__(backbone, pyramid)
        anchors = anchors or fitting_anchors(pyramid.levels)
        levels = pyramid.levels[: len(backbone.levels)]
        self.rpn = RegionProposalNetwork(RPNHead(channels, anchors.num_anchors), anchors, proposals)
        stages = []
        for overlap, deviations in zip(OVERLAPS, DEVIATIONS, strict=True):
            head = ConvHead(channels, norm=head_norm) if head_norm else MLPHead(channels)
            box = BoxBranch(
                RoIAlign(levels),
                head,
                BoxPredictor(head.out_channels, num_classes, class_agnostic=True),
                detections,
                BoxCoder([1 / deviation for deviation in deviations]),
                SmoothL1(),
            )
            mask_branch: dict[str, RoIBranch] = {}
            if masks:
                pooler, predictor = RoIAlign(levels, output_size=POOLED), MaskPredictor(channels, num_classes)
                mask_branch = {"mask": MaskBranch(pooler, MaskHead(channels, head_norm), predictor)}
            sampler = BalancedSampler(rois_per_image, object_fraction=0.25)
            stages.append(RoIHeads(box, IoUAssigner(overlap, overlap), sampler, mask_branch))
        self.roi_heads = CascadeHeads(stages)
        branches = ("box", "branches.mask") if masks else ("box",)
        self.compiled = (  # type: ignore[misc]  # masks or not is known here
            *Detector.compiled,
            "rpn.head",
            *(f"roi_heads.stages.{i}.{x}.{part}" for i in range(3) for x in branches for part in ("head", "predictor")),
        )
        warm_start(self, weights)

    @classmethod
    def has_masks(cls, options: Mapping[str, Any]) -> bool:
        return bool(options.get("masks"))

    def losses(self, features: dict[str, Tensor], batch: ImageBatch, targets: Targets) -> dict[str, Tensor]:
        proposals, losses = self.rpn(features, batch.padded_size, batch.sizes, targets)
        return {**losses, **self.roi_heads.losses(features, proposals, targets, batch.sizes)}

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a state dict with this network's keys; in mmdetection's, the background is last or has no channel."""
        state = dict(state)
        for key, value in state.items():
            if key.startswith("roi_head.") and ".fc_cls." in key:
                state[key] = value.roll(1, dims=0)
            elif key.startswith("roi_head.") and ".conv_logits." in key:
                state[key] = torch.cat((torch.zeros_like(value[:1]), value))
        return super().own_names(state)


cascade_rcnn = CascadeRCNN

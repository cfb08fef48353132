"""Faster R-CNN on a feature pyramid.

Faster R-CNN: Towards Real-Time Object Detection with Region Proposal Networks, Ren et al. 2015,
https://arxiv.org/abs/1506.01497
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor

from vertebra.backbones import Backbone
from vertebra.backbones.backbone import Level
from vertebra.backbones.layers import Norm
from vertebra.backbones.necks import NeckName, create_neck
from vertebra.backbones.resolve import resolve_backbone
from vertebra.backbones.warm_start import warm_start
from vertebra.tasks.detection.networks.detector import Detector
from vertebra.tasks.detection.networks.two_stage import TwoStageDetector
from vertebra.tasks.detection.parts.anchors import AnchorGenerator, fitting_anchors
from vertebra.tasks.detection.parts.batch import ImageBatch, Targets
from vertebra.tasks.detection.parts.box_branch import BoxBranch, BoxPredictor, ConvHead, MLPHead
from vertebra.tasks.detection.parts.roi_align import RoIAlign
from vertebra.tasks.detection.parts.roi_heads import RoIBranch, RoIHeads
from vertebra.tasks.detection.parts.rpn import ProposalSelection, RegionProposalNetwork, RPNHead
from vertebra.tasks.detection.parts.sampling import BalancedSampler
from vertebra.tasks.detection.parts.selection import DetectionSelection


class FasterRCNN(TwoStageDetector):
    """A two-stage detector: proposals from a feature pyramid, and what each of them is.

    With the backbone `resnet50` it is torchvision's `fasterrcnn_resnet50_fpn`, and with `head_norm` batch and
    `rpn_convs` 2 its `fasterrcnn_resnet50_fpn_v2`.

    Args:
        backbone: a registered name, or a backbone with any options.
        num_classes: K, the things to find, without the background.
        in_channels: for a backbone given by name: channels of the images, 3 if not given; `weights` are adapted to
            them.
        weights: for a backbone given by name: a path, `pretrained`, or the name of published weights. A checkpoint of
            `vertebra fit` fills all of the network that fits, see `vertebra.backbones.warm_start`.
        norm: for a backbone given by name: `batch` (if not given), `frozen`, `sync` or `group`.
        head_norm: norm of the pyramid and the box head, which then has four convolutions and one fully connected layer
            instead of two of those; None for no norm.
        neck: what makes the pyramid: `fpn`, `pafpn` or `bifpn` (whose authors have `head_norm` batch).
        channels: of the pyramid.
        rpn_convs: 3x3 convolutions of the proposal head.
        anchors: if not given, of one size a level, 8 times its reduction (32 to 512 for P2 to P6), and three shapes.
        proposals: how many proposals go on.
        detections: which detections are reported.
        rois_per_image: how many proposals of an image the second stage trains on, a quarter of them objects at most.
        class_agnostic: one box a proposal for all classes instead of one a class.

    Shape:
        as `Detector`; there are four losses: `loss_objectness` and `loss_rpn_box_reg` of the proposals,
        `loss_classifier` and `loss_box_reg` of the box branch

    Raises:
        ValueError: an argument for a named backbone beside a built one, or one that a part refuses.
        FileNotFoundError: there are no such weights.
    """

    roi_heads: RoIHeads
    compiled = (*Detector.compiled, "rpn.head", "roi_heads.box.head", "roi_heads.box.predictor")
    class_layers: ClassVar[tuple[str, ...]] = ("roi_heads.box.predictor",)
    optional_parts: ClassVar[tuple[str, ...]] = ("roi_heads.branches.mask",)
    renames = (
        *Detector.renames,
        (r"^rpn\.head\.conv\.(weight|bias)$", r"rpn.head.conv.0.0.\1"),
        (r"^roi_heads\.box_(head|predictor)\.", r"roi_heads.box.\1."),
        # of Mask R-CNN, whose weights this network can start from
        *((rf"^roi_heads\.mask_head\.mask_fcn{i + 1}\.", f"roi_heads.mask_head.{i}.0.") for i in range(4)),
        (r"^roi_heads\.mask_(head|predictor)\.", r"roi_heads.branches.mask.\1."),
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
        rpn_convs: int = 1,
        anchors: AnchorGenerator | None = None,
        proposals: ProposalSelection | None = None,
        detections: DetectionSelection | None = None,
        rois_per_image: int = 512,
        class_agnostic: bool = False,
    ) -> None:
        backbone = resolve_backbone(backbone, in_channels=in_channels, norm=norm, weights=weights)
        pyramid = create_neck(neck, backbone.levels, channels, extra="pool", norm=head_norm)
        super().__init__(backbone, pyramid)
        anchors = anchors or fitting_anchors(pyramid.levels)
        box_head = ConvHead(channels, norm=head_norm) if head_norm else MLPHead(channels)
        rpn_head = RPNHead(channels, anchors.num_anchors, rpn_convs)
        predictor = BoxPredictor(box_head.out_channels, num_classes, class_agnostic)
        levels = pyramid.levels[: len(backbone.levels)]
        self.rpn = RegionProposalNetwork(rpn_head, anchors, proposals)
        self.roi_heads = RoIHeads(
            BoxBranch(RoIAlign(levels), box_head, predictor, detections),
            sampler=BalancedSampler(rois_per_image, object_fraction=0.25),
            branches=self.branches(levels, channels, num_classes, head_norm),
        )
        warm_start(self, weights)

    def branches(
        self, levels: Sequence[Level], channels: int, num_classes: int, norm: Norm | None
    ) -> Mapping[str, RoIBranch]:
        """Build what the second stage has beside the box branch: here nothing; subclasses override it.

        Args:
            levels: of the pyramid that boxes are pooled from.
            channels: of the pyramid.
            num_classes: K.
            norm: `head_norm`.
        """
        return {}

    def losses(self, features: dict[str, Tensor], batch: ImageBatch, targets: Targets) -> dict[str, Tensor]:
        proposals, losses = self.rpn(features, batch.padded_size, batch.sizes, targets)
        return {**losses, **self.roi_heads.losses(features, proposals, targets)}


faster_rcnn = FasterRCNN

"""SSD: a one-stage detector on maps of the backbone itself.

SSD: Single Shot MultiBox Detector, Liu et al. 2016, https://arxiv.org/abs/1512.02325
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from vertebra.backbones import Backbone
from vertebra.backbones.layers import Norm
from vertebra.backbones.resolve import resolve_backbone
from vertebra.backbones.warm_start import warm_start
from vertebra.tasks.detection.networks.dense import DenseDetector, Outputs
from vertebra.tasks.detection.networks.ssd.extra_levels import ExtraLevels
from vertebra.tasks.detection.networks.ssd.head import SSDHead
from vertebra.tasks.detection.networks.ssd.layout import LAYOUTS, LayoutName, SSDLayout
from vertebra.tasks.detection.networks.ssd.selection import PerClassSelection, select_per_class
from vertebra.tasks.detection.parts.assigners import MultiBoxAssigner
from vertebra.tasks.detection.parts.batch import Targets
from vertebra.tasks.detection.parts.box_coder import BoxCoder
from vertebra.tasks.detection.parts.boxes import clip, take
from vertebra.tasks.detection.parts.candidates import Candidates
from vertebra.tasks.detection.parts.default_boxes import DefaultBoxes
from vertebra.tasks.detection.parts.detection_rows import DetectionRows
from vertebra.tasks.detection.parts.losses import BoxLoss, SmoothL1

NEGATIVES = 3  # of the background, so many of the worst boxes for each that is an object's


class SSD(DenseDetector):
    """A one-stage detector: convolutions on maps of the backbone and on coarser ones classify and correct anchors.

    With the backbone `vgg16_atrous` and the layout `300` it is torchvision's `ssd300_vgg16`, whose images are
    normalized with `mean` [0.48235, 0.45882, 0.40784] and `std` 1/255. torchvision resizes every image to 300 x 300
    pixels, whatever its shape. Here images of any sizes are padded and not distorted, and default boxes have the same
    sizes in pixels on all of them; for an `ImageBatch` of 300 x 300 the outputs are torchvision's.

    Args:
        backbone: a registered name, or a backbone with any options; its levels of reduction 8 (`lite320`: 16) and
            coarser are used, or the coarsest where there is none.
        num_classes: K, the things to find, without the background.
        in_channels: for a backbone given by name: channels of the images, 3 if not given; `weights` are adapted to
            them.
        weights: for a backbone given by name: a path, `pretrained`, or the name of published weights. A checkpoint of
            `vertebra fit` fills all of the network that fits, see `vertebra.backbones.warm_start`.
        norm: for a backbone given by name: `batch` (if not given), `frozen`, `sync` or `group`.
        head_norm: norm of the extra levels, and of the depthwise convolutions of `lite320`; None for no norm.
        layout: of levels and default boxes: `300`, `512`, `lite320` (SSDLite), or a layout of your own.
        detections: which detections are reported.
        box_loss: `SmoothL1` or `GIoU` of `vertebra.tasks.detection.parts.losses`; smooth L1 if not given.

    Shape:
        as `Detector`; the losses are `loss_classifier` and `loss_box_reg`, each a sum over the boxes of all images,
        divided by the number of boxes that are objects

    Raises:
        ValueError: an argument for a named backbone beside a built one, or one that a part refuses.
        FileNotFoundError: there are no such weights.
    """

    class_layers = ("head.cls_logits",)
    renames = (
        # torchvision's: conv5 and fc6 and fc7 are the first of the extra levels
        (r"^backbone\.scale_weight$", "backbone.norm.weight"),
        (r"^backbone\.extra\.0\.7\.1\.", "backbone.fc6."),
        (r"^backbone\.extra\.0\.7\.3\.", "backbone.fc7."),
        (r"^backbone\.extra\.0\.(\d)\.", lambda match: f"backbone.features.{23 + int(match[1])}."),
        (r"^backbone\.extra\.(\d)\.", lambda match: f"neck.extra.{int(match[1]) - 1}."),
        (r"^(neck\.extra\.\d)\.([02])\.(weight|bias)$", lambda m: f"{m[1]}.{int(m[2]) // 2}.0.{m[3]}"),
        (r"^head\.classification_head\.module_list\.", "head.cls_logits."),
        (r"^head\.regression_head\.module_list\.", "head.bbox_reg."),
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
        layout: LayoutName | SSDLayout = "300",
        detections: PerClassSelection | None = None,
        box_loss: BoxLoss | None = None,
    ) -> None:
        if isinstance(layout, str):
            if layout not in LAYOUTS:
                raise ValueError(f"layout is {layout!r}; choose {', '.join(LAYOUTS)}, or give an SSDLayout.")
            layout = LAYOUTS[layout]
        backbone = resolve_backbone(backbone, in_channels=in_channels, norm=norm, weights=weights)
        neck = ExtraLevels(backbone.levels, layout, head_norm)
        sizes = [layout.box_sizes(i) for i in range(len(neck.levels))]
        anchors = DefaultBoxes(sizes, neck.steps)
        head = SSDHead(neck.levels, [len(x) for x in sizes], num_classes, layout.depthwise, head_norm)
        super().__init__(backbone, neck, anchors, head, MultiBoxAssigner(0.5))
        self.selection = detections or PerClassSelection()
        self.box_loss = box_loss or SmoothL1()
        self.coder = BoxCoder((10.0, 10.0, 5.0, 5.0))
        warm_start(self, weights)

    def compare(self, outputs: Outputs, anchors: Candidates, targets: Targets) -> dict[str, Tensor]:
        logits, deltas = (torch.cat(levels, dim=1) for levels in outputs)
        objects, labels = self.assigner(anchors, targets)
        is_object = labels > 0
        count = is_object.sum().clamp(min=1)
        boxes = take(targets.boxes, objects)
        loss_box_reg = self.box_loss(self.coder, deltas, anchors.boxes, boxes, is_object)
        entropy = F.cross_entropy(logits.transpose(1, 2), labels.clamp(min=0), reduction="none")  # (N, B)
        loss_classifier = entropy.masked_fill(~is_object, 0.0).sum() + hard_negatives(entropy, labels).sum()
        return {"loss_classifier": loss_classifier / count, "loss_box_reg": loss_box_reg.sum() / count}

    def select(self, outputs: Outputs, anchors: Candidates, sizes: Tensor) -> DetectionRows:
        logits, deltas = (torch.cat(levels, dim=1) for levels in outputs)
        boxes = clip(self.coder.decode(deltas, anchors.boxes), sizes)
        return select_per_class(boxes, logits.softmax(dim=-1)[..., 1:], self.selection)


def hard_negatives(losses: Tensor, labels: Tensor) -> Tensor:
    """Return the largest losses of the background of each image, three times as many as it has boxes of objects.

    Args:
        losses: (N, B) of the classes.
        labels: (N, B) as in `Assignment`.

    Returns:
        (N, B) in descending order, 0 for those that do not count.
    """
    ordered = losses.masked_fill(labels != 0, -torch.inf).sort(dim=1, descending=True).values
    wanted = NEGATIVES * (labels > 0).sum(dim=1, keepdim=True)
    chosen = torch.arange(losses.shape[1], device=losses.device) < wanted
    return torch.where(chosen & (ordered > -torch.inf), ordered, 0.0)


ssd = SSD
ssd300 = partial(SSD, layout="300")
ssd512 = partial(SSD, layout="512")
# batch norm, as in the paper, has no statistics of a level of one pixel where a batch is one image
ssdlite320 = partial(SSD, layout="lite320", head_norm="group")

"""The box branch of the second stage: what each proposal is, and its box made exact.

Fast R-CNN, Girshick 2015, https://arxiv.org/abs/1504.08083
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vertebra.backbones.layers import Norm
from vertebra.tasks.detection.parts.assigners import IGNORE
from vertebra.tasks.detection.parts.batch import Targets
from vertebra.tasks.detection.parts.box_coder import BoxCoder
from vertebra.tasks.detection.parts.boxes import clip, take
from vertebra.tasks.detection.parts.detection_rows import DetectionRows
from vertebra.tasks.detection.parts.layers import conv_stack
from vertebra.tasks.detection.parts.losses import BoxLoss, SmoothL1
from vertebra.tasks.detection.parts.roi_align import RoIAlign
from vertebra.tasks.detection.parts.rpn import Proposals
from vertebra.tasks.detection.parts.sampling import RoISample
from vertebra.tasks.detection.parts.selection import DetectionSelection, select_detections
from vertebra.tasks.training.divergence.finite_outputs import OutputChecks


class ScoredBoxes(NamedTuple):
    """Proposals with a score and a box for each class, of which detections are selected.

    Attributes:
        boxes: (N, R, K, 4) xyxy, clipped to their images.
        scores: (N, R, K) in 0..1.
        valid: (N, R) bool, False for padding.
    """

    boxes: Tensor
    scores: Tensor
    valid: Tensor


class MLPHead(nn.Module):
    """Two fully connected layers over a pooled box.

    Shape:
        (B, in_channels, size, size) -> (B, out_channels)
    """

    def __init__(self, in_channels: int, size: int = 7, out_channels: int = 1024) -> None:
        super().__init__()
        self.fc6 = nn.Linear(in_channels * size**2, out_channels)
        self.fc7 = nn.Linear(out_channels, out_channels)
        self.out_channels = out_channels

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.fc7(F.relu(self.fc6(x.flatten(1)))))


class ConvHead(nn.Sequential):
    """Four 3x3 convolutions and a fully connected layer over a pooled box.

    Group Normalization, Wu and He 2018, https://arxiv.org/abs/1803.08494, section 4.2.

    Shape:
        (B, in_channels, size, size) -> (B, out_channels)
    """

    def __init__(self, in_channels: int, size: int = 7, out_channels: int = 1024, norm: Norm | None = "batch") -> None:
        layers = conv_stack(in_channels, 4, norm)
        last = nn.Linear(in_channels * size**2, out_channels)
        super().__init__(*layers, nn.Flatten(), last, nn.ReLU(inplace=True))
        self.out_channels = out_channels
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class BoxPredictor(nn.Module):
    """Class logits and box deltas of each proposal.

    Args:
        in_channels: of the box head's output.
        num_classes: K, without the background.
        class_agnostic: one box for all classes instead of one a class.

    Shape:
        (B, in_channels) -> logits (B, K + 1), background first, and deltas (B, 1 or K + 1, 4), float32
    """

    def __init__(self, in_channels: int, num_classes: int, class_agnostic: bool = False) -> None:
        super().__init__()
        self.cls_score = nn.Linear(in_channels, num_classes + 1)
        self.bbox_pred = nn.Linear(in_channels, 4 * (1 if class_agnostic else num_classes + 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.cls_score(x).float(), self.bbox_pred(x).view(x.shape[0], -1, 4).float()


class BoxBranch(nn.Module):
    """Classifies proposals and corrects their boxes.

    Args:
        pooler: features and boxes to one map a box.
        head: pooled maps to vectors.
        predictor: vectors to logits and deltas.
        selection: which detections are reported.
        coder: of the deltas.
        box_loss: of the deltas; smooth L1 with a beta of 1/9 if not given.

    Shape:
        - features: dict of (N, C, H_l, W_l)
        - proposals: `Proposals` with R boxes an image
        - output: `DetectionRows`
    """

    def __init__(
        self,
        pooler: RoIAlign,
        head: nn.Module,
        predictor: nn.Module,
        selection: DetectionSelection | None = None,
        coder: BoxCoder | None = None,
        box_loss: BoxLoss | None = None,
    ) -> None:
        super().__init__()
        self.pooler = pooler
        self.head = head
        self.predictor = predictor
        self.selection = selection or DetectionSelection()
        self.coder = coder or BoxCoder((10.0, 10.0, 5.0, 5.0))
        self.box_loss = box_loss or SmoothL1(beta=1 / 9)

    def forward(self, features: dict[str, Tensor], proposals: Proposals, sizes: Tensor) -> DetectionRows:
        logits, deltas = self.predict(features, proposals.boxes)
        return self.select(self.score(logits, deltas, proposals, sizes, OutputChecks()))

    def predict(self, features: dict[str, Tensor], boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (N * R, K + 1) and deltas (N * R, 1 or K + 1, 4) of boxes (N, R, 4)."""
        return self.predictor(self.head(self.pooler(features, boxes)))

    def losses(self, logits: Tensor, deltas: Tensor, sample: RoISample, targets: Targets) -> dict[str, Tensor]:
        """Return `loss_classifier` and `loss_box_reg` of predictions for a sample of the proposals."""
        labels = sample.labels.flatten()
        count = (labels != IGNORE).sum().clamp(min=1)
        loss_classifier = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="sum")
        if deltas.shape[1] > 1:  # one box a class: the true class's
            deltas = deltas.gather(1, labels.clamp(min=0).view(-1, 1, 1).expand(-1, -1, 4))
        boxes = take(targets.boxes, sample.objects).view(-1, 4)
        loss_box_reg = self.box_loss(self.coder, deltas[:, 0], sample.boxes.view(-1, 4), boxes, labels > 0)
        return {"loss_classifier": loss_classifier / count, "loss_box_reg": loss_box_reg.sum() / count}

    @torch.no_grad()
    def score(
        self, logits: Tensor, deltas: Tensor, proposals: Proposals, sizes: Tensor, checks: OutputChecks
    ) -> ScoredBoxes:
        """Turn predictions for proposals into a score and a box for each class, in images of `sizes` (N, 2)."""
        num_images, num_boxes = proposals.valid.shape
        num_classes = logits.shape[1] - 1
        scores = logits.softmax(dim=-1)[:, 1:].view(num_images, num_boxes, num_classes)
        for output in (scores, deltas):  # a threshold on NaN would find nothing, which looks like an answer
            checks(output.reshape(num_images, -1))
        boxes = self.coder.decode(deltas, proposals.boxes.reshape(-1, 1, 4))
        boxes = clip(boxes.view(num_images, num_boxes, -1, 4), sizes)
        boxes = boxes[:, :, 1:] if boxes.shape[2] > 1 else boxes.expand(-1, -1, num_classes, -1)
        return ScoredBoxes(boxes, scores, proposals.valid)

    @torch.no_grad()
    def select(self, scored: ScoredBoxes) -> DetectionRows:
        """Select the detections of each image."""
        boxes, scores, valid = scored
        num_classes = scores.shape[-1]
        classes = torch.arange(num_classes, device=boxes.device)
        return select_detections(boxes, scores, classes, num_classes, self.selection, valid[..., None])

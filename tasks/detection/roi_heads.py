"""The second stage: what each proposal is, and its box made exact.

Fast R-CNN, Girshick 2015, https://arxiv.org/abs/1504.08083
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vertebra.backbones.layers import Norm, conv, norm_layer
from vertebra.tasks.detection.batch import Targets
from vertebra.tasks.detection.boxes import clip, decode, encode, has_size
from vertebra.tasks.detection.matching import IGNORE, BalancedSampler, Sample, match
from vertebra.tasks.detection.nms import grouped_nms
from vertebra.tasks.detection.roi_align import RoIAlign
from vertebra.tasks.detection.rpn import Proposals, box_loss
from vertebra.tasks.training.divergence.finite_outputs import refuse_nonfinite

CODER_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
LEAST_SIZE = 1e-2  # pixels


@dataclass
class DetectionSelection:
    """Which detections are reported.

    Args:
        score_threshold: least score, 0..1.
        nms_threshold: overlap above which the better of two boxes of a class stays.
        per_image: how many of the best are kept.
    """

    score_threshold: float = 0.05
    nms_threshold: float = 0.5
    per_image: int = 100


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
        layers = []
        for _ in range(4):
            convolution = conv(2, in_channels, in_channels, kernel_size=3, bias=norm is None)
            norms = [norm_layer(2, in_channels, norm)] if norm else []
            layers.append(nn.Sequential(convolution, *norms, nn.ReLU(inplace=True)))
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
        return self.cls_score(x).float(), self.bbox_pred(x).view(len(x), -1, 4).float()


class _TrainingBoxes(NamedTuple):
    """A sample of the proposals with what each is to learn; `labels` (N, S) as in `Sample`."""

    boxes: Tensor  # (N, S, 4)
    labels: Tensor
    true_boxes: Tensor  # (N, S, 4)


class RoIHeads(nn.Module):
    """Classifies proposals and corrects their boxes.

    Args:
        pooler: features and boxes to one map a box.
        box_head: pooled maps to vectors.
        predictor: vectors to logits and deltas.
        selection: which detections are reported.
        sampler: labels (N, R) to the proposals that enter the losses.
        foreground: overlap from which a proposal is an object; below it is background.

    Shape:
        - features: dict of (N, C, H_l, W_l)
        - proposals: `Proposals` with R boxes an image
        - output: with targets the losses `loss_classifier` and `loss_box_reg`, else one dict an image: `boxes` (D, 4),
          `scores` (D,), `labels` (D,) in 1..K
    """

    def __init__(
        self,
        pooler: RoIAlign,
        box_head: nn.Module,
        predictor: nn.Module,
        selection: DetectionSelection | None = None,
        sampler: Callable[[Tensor], Sample] | None = None,
        foreground: float = 0.5,
    ) -> None:
        super().__init__()
        self.pooler = pooler
        self.box_head = box_head
        self.box_predictor = predictor
        self.selection = selection or DetectionSelection()
        self.sampler = sampler or BalancedSampler(512, object_fraction=0.25)
        self.foreground = foreground

    def forward(self, features: dict[str, Tensor], proposals: Proposals, sizes: Tensor) -> list[dict[str, Tensor]]:
        logits, deltas = self.predict(features, proposals.boxes)
        return self.detect(logits, deltas, proposals, sizes)

    def predict(self, features: dict[str, Tensor], boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (N * R, K + 1) and deltas (N * R, 1 or K + 1, 4) of boxes (N, R, 4)."""
        return self.box_predictor(self.box_head(self.pooler(features, boxes)))

    def losses(self, features: dict[str, Tensor], proposals: Proposals, targets: Targets) -> dict[str, Tensor]:
        """Compare the predictions for a sample of the proposals with the truth."""
        sample = self.sample(proposals, targets)
        logits, deltas = self.predict(features, sample.boxes)
        labels = sample.labels.flatten()
        count = (labels != IGNORE).sum().clamp(min=1)
        loss_classifier = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="sum")
        if deltas.shape[1] > 1:  # one box a class: the true class's
            deltas = deltas.gather(1, labels.clamp(min=0).view(-1, 1, 1).expand(-1, -1, 4))
        wanted = encode(sample.true_boxes, sample.boxes, CODER_WEIGHTS).view(-1, 4)
        return {
            "loss_classifier": loss_classifier / count,
            "loss_box_reg": box_loss(deltas[:, 0], wanted, labels > 0) / count,
        }

    @torch.no_grad()
    def sample(self, proposals: Proposals, targets: Targets) -> _TrainingBoxes:
        """Draw the proposals that train; the true boxes are among them, so that there is always something to learn."""
        boxes = torch.cat((proposals.boxes, targets.boxes), dim=1)
        valid = torch.cat((proposals.valid, targets.labels > 0), dim=1)
        matched = match(boxes, targets, self.foreground, self.foreground, valid=valid)
        indices, labels = self.sampler(matched.labels)
        objects = matched.objects.gather(1, indices)
        return _TrainingBoxes(
            boxes=boxes.gather(1, indices[..., None].expand(-1, -1, 4)),
            labels=labels,
            true_boxes=targets.boxes.gather(1, objects[..., None].expand(-1, -1, 4)),
        )

    @torch.no_grad()
    def detect(self, logits: Tensor, deltas: Tensor, proposals: Proposals, sizes: Tensor) -> list[dict[str, Tensor]]:
        """Turn predictions into detections: threshold, suppression within each class, the best of each image."""
        num_images, num_boxes = proposals.valid.shape
        num_classes = logits.shape[1] - 1
        scores = logits.softmax(dim=-1)[:, 1:].view(num_images, num_boxes, num_classes)
        for output in (scores, deltas):  # a threshold on NaN would find nothing, which looks like an answer
            refuse_nonfinite(output.reshape(num_images, -1))
        boxes = decode(deltas, proposals.boxes.reshape(-1, 1, 4), CODER_WEIGHTS)
        boxes = clip(boxes.view(num_images, num_boxes, -1, 4), sizes)
        boxes = boxes[:, :, 1:] if boxes.shape[2] > 1 else boxes.expand(-1, -1, num_classes, -1)

        keep = (scores > self.selection.score_threshold) & has_size(boxes, LEAST_SIZE) & proposals.valid[..., None]
        image, box, label = keep.nonzero(as_tuple=True)
        boxes, scores = boxes[image, box, label], scores[image, box, label]
        kept = grouped_nms(boxes, scores, image * num_classes + label, self.selection.nms_threshold)
        image, boxes, scores, label = image[kept], boxes[kept], scores[kept], label[kept]
        detections = []
        for i in range(num_images):
            of_image = (image == i).nonzero()[: self.selection.per_image, 0]
            detections.append({"boxes": boxes[of_image], "scores": scores[of_image], "labels": label[of_image] + 1})
        return detections

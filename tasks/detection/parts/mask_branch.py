"""The mask branch of the second stage: which pixels of a box belong to the object.

Mask R-CNN, He et al. 2017, https://arxiv.org/abs/1703.06870
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vertebra.backbones.layers import Norm
from vertebra.tasks.detection.parts.batch import Targets
from vertebra.tasks.detection.parts.detection_rows import DetectionRows
from vertebra.tasks.detection.parts.layers import conv_stack
from vertebra.tasks.detection.parts.masks import sample_masks
from vertebra.tasks.detection.parts.roi_align import RoIAlign
from vertebra.tasks.detection.parts.roi_heads import RoIBranch
from vertebra.tasks.detection.parts.sampling import RoISample
from vertebra.tasks.training.divergence.finite_outputs import refuse_nonfinite

POOLED = 14  # bins of a box in both directions; a mask has twice as many pixels


class MaskHead(nn.Sequential):
    """Four 3x3 convolutions over a pooled box.

    Args:
        channels: of the pyramid.
        norm: behind each convolution (see `BackboneOptions`), or None.

    Shape:
        (B, channels, size, size) -> the same
    """

    def __init__(self, channels: int, norm: Norm | None = None) -> None:
        super().__init__(*conv_stack(channels, 4, norm))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


class MaskPredictor(nn.Module):
    """Mask logits at twice the resolution, of one class for each box.

    The last convolution is computed for that class alone: for 80 classes it would be the largest tensor of a step.

    Args:
        channels: of the mask head.
        num_classes: K, without the background, whose channel exists in published weights and is not used.

    Shape:
        (B, channels, size, size) and labels (B,) int64 in 0..K -> (B, 2 * size, 2 * size), float32
    """

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.conv5_mask = nn.ConvTranspose2d(channels, channels, kernel_size=2, stride=2)
        self.mask_fcn_logits = nn.Conv2d(channels, num_classes + 1, kernel_size=1)
        for module in (self.conv5_mask, self.mask_fcn_logits):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        x = F.relu(self.conv5_mask(x))
        weight = F.embedding(labels, self.mask_fcn_logits.weight.flatten(1))  # (B, channels)
        bias = F.embedding(labels, self.mask_fcn_logits.get_parameter("bias")[:, None])  # (B, 1)
        return torch.einsum("bchw,bc->bhw", x, weight).float() + bias[..., None].float()


class MaskBranch(RoIBranch):
    """Segments what the box branch finds, and learns from the proposals that are objects.

    Args:
        pooler: features and boxes to one map a box.
        head: pooled maps to maps.
        predictor: maps and labels to mask logits.

    Shape:
        as `RoIBranch`; it adds `mask_probs` (D, M, M) float32 in 0..1 over each box, see `paste_masks`
    """

    def __init__(self, pooler: RoIAlign, head: nn.Module, predictor: nn.Module) -> None:
        super().__init__()
        self.pooler = pooler
        self.head = head
        self.predictor = predictor

    def predict(self, features: dict[str, Tensor], boxes: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        """Return logits (B, M, M) of boxes (B, 4) with `labels` (B,), each in one of the images (B,)."""
        return self.predictor(self.head(self.pooler(features, boxes, images)), labels)

    @torch.no_grad()
    def forward(self, features: dict[str, Tensor], detections: DetectionRows) -> DetectionRows:
        logits = self.predict(features, detections["boxes"], detections.images, detections["labels"])  # (D, M, M)
        of_images = logits.new_zeros(detections.counts.shape)
        refuse_nonfinite(of_images.index_add(0, detections.images, logits.sum(dim=(1, 2)))[:, None])
        return detections.with_column("mask_probs", logits.sigmoid())

    def losses(self, features: dict[str, Tensor], sample: RoISample, targets: Targets) -> dict[str, Tensor]:
        """Return `loss_mask`, the cross-entropy of the pixels of those proposals that are objects."""
        if targets.masks is None:
            raise ValueError(
                "the targets have no masks, which this network learns; give data with segmentations, or train a "
                "detector of boxes."
            )
        labels = sample.labels[:, : sample.most_objects]
        rows, counted = objects_first(labels.flatten() > 0)
        images, places = rows // labels.shape[1], rows % labels.shape[1]
        boxes, instances = sample.boxes[images, places], sample.objects[images, places]
        logits = self.predict(features, boxes, images, labels[images, places].clamp(min=0))
        wanted = sample_masks(targets.masks, images, instances, boxes, logits.shape[-1])
        loss = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none").mean(dim=(1, 2))
        return {"loss_mask": loss.masked_fill(~counted, 0.0).sum() / counted.sum().clamp(min=1)}


def objects_first(is_object: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rows of a flag (R,) that are set, in a number of rows that needs no waiting for a device.

    On the CPU these are the rows that are set; on a device as many as R, in which they repeat, so that the statistics
    of batch norm are of objects alone. There is at least one row, which counts for nothing where none is set.

    Returns:
        rows (B,) int64, and which of them count, (B,) bool.
    """
    order = is_object.int().argsort(descending=True, stable=True)
    count = is_object.sum().clamp(min=1)
    rank = torch.arange(int(count) if is_object.device.type == "cpu" else len(is_object), device=is_object.device)
    rows = order[rank % count]
    return rows, is_object[rows] & (rank < count)

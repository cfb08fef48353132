"""Detections of a batch as one table, image after image."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class DetectionRows:
    """Detections of all images of a batch, image after image, within an image the best score first.

    While a network is exported every image has the same number of rows, of which the last ones are padding: a file has
    no shapes that depend on what is found.

    Attributes:
        columns: by name: `boxes` (D, 4) float32 xyxy in pixels of the image, `scores` (D,) float32 in 0..1 and
            `labels` (D,) int64 in 1..K, all zero where padded; and what further branches of a network add, such as
            `mask_probs` (D, M, M).
        images: (D,) int64, index of each row's image, ascending.
        counts: (N,) int64, detections of each image, without padding.
    """

    columns: dict[str, Tensor]
    images: Tensor
    counts: Tensor

    @classmethod
    def of(cls, boxes: Tensor, scores: Tensor, labels: Tensor, images: Tensor, counts: Tensor) -> DetectionRows:
        """Build the table of a detector of boxes."""
        return cls({"boxes": boxes, "scores": scores, "labels": labels}, images, counts)

    def __getitem__(self, name: str) -> Tensor:
        return self.columns[name]

    def with_column(self, name: str, column: Tensor) -> DetectionRows:
        """Return the table with a further column (D, ...)."""
        return replace(self, columns={**self.columns, name: column})

    def per_image(self) -> list[dict[str, Tensor]]:
        """Return the columns of each image."""
        counts = self.counts.tolist()
        split = [column.split(counts) for column in self.columns.values()]
        return [dict(zip(self.columns, image, strict=True)) for image in zip(*split, strict=True)]


def padded_rows(boxes: Tensor, scores: Tensor, labels: Tensor, kept: Tensor, per_image: int) -> DetectionRows:
    """Return the best detections of each image in a fixed number of rows.

    Args:
        boxes: (N, M, 4) xyxy.
        scores: (N, M) in 0..1.
        labels: (N, M) int64 in 1..K.
        kept: (N, M) bool, which are detections.
        per_image: number of rows of an image.
    """
    # padded first: there may be fewer candidates than rows
    ranked = F.pad(scores.masked_fill(~kept, -1.0), (0, per_image), value=-1.0)
    best = ranked.topk(per_image, dim=1)
    found = best.values >= 0
    boxes = F.pad(boxes, (0, 0, 0, per_image)).gather(1, best.indices[..., None].expand(-1, -1, 4))
    labels = F.pad(labels, (0, per_image)).gather(1, best.indices)
    images = torch.arange(scores.shape[0], device=scores.device)[:, None].expand(-1, per_image)
    return DetectionRows.of(
        (boxes * found[..., None]).flatten(0, 1),
        (best.values * found).flatten(),
        (labels * found).flatten(),
        images.flatten(),
        found.sum(dim=1),
    )

"""Selection of detections: score threshold, suppression within each class, the best of each image."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from vertebra.tasks.detection.boxes import has_size
from vertebra.tasks.detection.nms import grouped_nms

LEAST_SIZE = 1e-2  # pixels; what clipping left of a box outside the image is no detection


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


def select_detections(
    boxes: Tensor,
    scores: Tensor,
    classes: Tensor,
    num_classes: int,
    selection: DetectionSelection,
    valid: Tensor | None = None,
) -> list[dict[str, Tensor]]:
    """Turn scored boxes of a batch into detections.

    Args:
        boxes: (N, ..., 4) xyxy, clipped to their images.
        scores: (N, ...) in 0..1.
        classes: int64 in 0..K-1, of a shape that broadcasts to that of the scores.
        num_classes: K.
        selection: the thresholds.
        valid: bool, of a shape that broadcasts to that of the scores; False for padding.

    Returns:
        For each image `boxes` (D, 4), `scores` (D,) and `labels` (D,) in 1..K, best score first.
    """
    keep = (scores > selection.score_threshold) & has_size(boxes, LEAST_SIZE)
    if valid is not None:
        keep &= valid
    # only few pass the threshold: they are put together here, where the host waits for their number
    places = keep.nonzero(as_tuple=True)
    image, boxes, scores, classes = places[0], boxes[places], scores[places], classes.expand(keep.shape)[places]
    kept = grouped_nms(boxes, scores, image * num_classes + classes, selection.nms_threshold)
    image, boxes, scores, classes = image[kept], boxes[kept], scores[kept], classes[kept]
    detections = []
    for i in range(len(keep)):
        of_image = (image == i).nonzero()[: selection.per_image, 0]
        detections.append({"boxes": boxes[of_image], "scores": scores[of_image], "labels": classes[of_image] + 1})
    return detections

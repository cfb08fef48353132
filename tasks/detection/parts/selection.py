"""Selection of detections: score threshold, suppression within each class, the best of each image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vertebra.tasks.detection.parts.box_coder import Coder
from vertebra.tasks.detection.parts.boxes import clip, has_size, take
from vertebra.tasks.detection.parts.candidates import Candidates
from vertebra.tasks.detection.parts.nms import grouped_nms
from vertebra.tasks.detection.parts.soft_nms import SoftNMS

LEAST_SIZE = 1e-2  # pixels; what clipping left of a box outside the image is no detection


@dataclass
class DetectionSelection:
    """Which detections are reported.

    Args:
        score_threshold: least score, 0..1.
        nms_threshold: overlap above which the better of two boxes of a class stays.
        per_image: how many of the best are kept.
        soft_nms: decay of the scores of overlapping boxes, in place of their removal; None to remove them.
    """

    score_threshold: float = 0.05
    nms_threshold: float = 0.5
    per_image: int = 100
    soft_nms: SoftNMS | None = None


@dataclass
class DenseSelection(DetectionSelection):
    """Which detections of a one-stage detector are reported.

    Args:
        score_threshold: least score, 0..1.
        nms_threshold: overlap above which the better of two boxes of a class stays.
        per_image: how many of the best are kept.
        soft_nms: decay of the scores of overlapping boxes, in place of their removal; None to remove them.
        per_level: how many of the best of each level enter the suppression.
    """

    per_level: int = 1000


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
    kept, scores = suppress(boxes, scores, image * num_classes + classes, selection)
    image = image[kept]
    by_image = image.argsort(stable=True)  # best first within each
    # the numbers of all images at once: the host waits for them
    counts = (image == torch.arange(len(keep), device=image.device)[:, None]).sum(dim=1).tolist()
    detections = []
    for of_image in by_image.split(counts):
        rows = of_image[: selection.per_image]
        detections.append({"boxes": boxes[kept[rows]], "scores": scores[rows], "labels": classes[kept[rows]] + 1})
    return detections


def suppress(boxes: Tensor, scores: Tensor, groups: Tensor, selection: DetectionSelection) -> tuple[Tensor, Tensor]:
    """Suppress boxes (B, 4) xyxy with scores (B,) that overlap a better one of the same group, of `groups` (B,) int64.

    Returns:
        Indices of the kept boxes, best score first, and their scores, which soft-NMS has decayed.
    """
    if selection.soft_nms is not None:
        return selection.soft_nms(boxes, scores, groups, selection.nms_threshold, selection.score_threshold)
    kept = grouped_nms(boxes, scores, groups, selection.nms_threshold)
    return kept, scores[kept]


@torch.no_grad()
def select_dense(
    scores: Sequence[Tensor],
    deltas: Sequence[Tensor],
    candidates: Candidates,
    coder: Coder,
    sizes: Tensor,
    selection: DenseSelection,
) -> list[dict[str, Tensor]]:
    """Turn predictions for every candidate of a pyramid into detections.

    Args:
        scores: for each level (N, B_l, K) in 0..1.
        deltas: for each level (N, B_l, 4).
        candidates: anchors or points, the same for every image.
        coder: of the deltas.
        sizes: (N, 2) height and width of the images.
        selection: the thresholds.

    Returns:
        As `select_detections`.
    """
    num_classes = scores[0].shape[-1]
    all_boxes, all_scores, all_classes = [], [], []
    levels = candidates.boxes.split(candidates.levels)
    for level_scores, level_deltas, references in zip(scores, deltas, levels, strict=True):
        # the best pairs of candidate and class are among the candidates whose best class is best: a short list of
        # candidates first, since a level has K times as many pairs
        rows = level_scores.amax(dim=-1).topk(min(selection.per_level, len(references)), dim=1).indices  # (N, R)
        pairs = level_scores.gather(1, rows[..., None].expand(-1, -1, num_classes)).flatten(1)  # (N, R * K)
        best = pairs.topk(min(selection.per_level, pairs.shape[1]), dim=1)
        rows = rows.gather(1, best.indices // num_classes)
        all_boxes.append(clip(coder.decode(take(level_deltas, rows), references[rows]), sizes))
        all_scores.append(best.values)
        all_classes.append(best.indices % num_classes)
    boxes, classes = torch.cat(all_boxes, dim=1), torch.cat(all_classes, dim=1)
    return select_detections(boxes, torch.cat(all_scores, dim=1), classes, num_classes, selection)

"""Selection of detections: score threshold, suppression within each class, the best of each image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from vertebra.tasks.detection.parts.box_coder import Coder
from vertebra.tasks.detection.parts.boxes import clip, has_size, take
from vertebra.tasks.detection.parts.candidates import Candidates
from vertebra.tasks.detection.parts.detection_rows import DetectionRows, padded_rows
from vertebra.tasks.detection.parts.nms import grouped_nms
from vertebra.tasks.detection.parts.nms_operator import nms_mask
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
) -> DetectionRows:
    """Turn scored boxes of a batch into detections.

    Args:
        boxes: (N, ..., 4) xyxy, clipped to their images.
        scores: (N, ...) in 0..1.
        classes: int64 in 0..K-1, of the shape of the scores; or 0..K-1 along one of their axes, such as (K, 1).
        num_classes: K.
        selection: the thresholds.
        valid: bool, of a shape that broadcasts to that of the scores; False for padding.
    """
    keep = (scores > selection.score_threshold) & has_size(boxes, LEAST_SIZE)
    if valid is not None:
        keep &= valid
    if torch.compiler.is_exporting():
        return _padded_selection(boxes, scores, classes, num_classes, selection, keep)
    # only few pass the threshold: they are put together here, where the host waits for their number
    places = keep.nonzero(as_tuple=True)
    image, boxes, scores, classes = places[0], boxes[places], scores[places], classes.expand(keep.shape)[places]
    kept, scores = suppress(boxes, scores, image * num_classes + classes, selection)
    image = image[kept]
    counts = (image == torch.arange(len(keep), device=image.device)[:, None]).sum(dim=1)
    order = image.argsort(stable=True)  # by image, and within it best score first
    ranks = torch.arange(len(order), device=image.device) - (counts.cumsum(dim=0) - counts)[image[order]]
    order = order[ranks < selection.per_image]
    rows = kept[order]
    counts = counts.clamp(max=selection.per_image)
    return DetectionRows.of(boxes[rows], scores[order], classes[rows] + 1, image[order], counts)


def _padded_selection(
    boxes: Tensor, scores: Tensor, classes: Tensor, num_classes: int, selection: DetectionSelection, keep: Tensor
) -> DetectionRows:
    """Return the same detections in fixed shapes, as an exported network needs them; arguments as there.

    Raises:
        ValueError: the selection has soft-NMS, a loop whose length depends on what is found.
    """
    if selection.soft_nms is not None:
        raise ValueError("soft-NMS is a loop whose length depends on what is found; set detections.soft_nms to null")
    suppress = partial(nms_mask, threshold=selection.nms_threshold, least=selection.score_threshold)
    if classes.dim() == scores.dim():  # each box has a class
        labels = classes.flatten(1)
        boxes, scores, keep = boxes.flatten(1, -2), scores.flatten(1), keep.flatten(1)
        of_class = labels[:, None] == torch.arange(num_classes, device=labels.device)[:, None]  # (N, K, B)
        survive = suppress(boxes, scores[:, None].where(of_class & keep[:, None], -1.0)).any(dim=1)
    else:  # each class has boxes of its own
        axis = scores.dim() - classes.dim()
        by_class = scores.masked_fill(~keep, -1.0).movedim(axis, 1)  # (N, K, R)
        survive = suppress(boxes.movedim(axis, 1).flatten(0, 1), by_class.flatten(0, 1)[:, None])
        # back in the order of the candidates, by which equal scores are ranked
        survive = survive.view(by_class.shape).movedim(1, axis).flatten(1)
        boxes, scores, labels = boxes.flatten(1, 2), scores.flatten(1), classes.expand(scores.shape).flatten(1)
    return padded_rows(boxes, scores, labels + 1, survive, selection.per_image)


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
) -> DetectionRows:
    """Turn predictions for every candidate of a pyramid into detections.

    Args:
        scores: for each level (N, B_l, K) in 0..1.
        deltas: for each level (N, B_l, 4).
        candidates: anchors or points, the same for every image.
        coder: of the deltas.
        sizes: (N, 2) height and width of the images.
        selection: the thresholds.
    """
    num_classes = scores[0].shape[-1]
    all_boxes, all_scores, all_classes = [], [], []
    levels = candidates.boxes.split(candidates.levels)
    for level_scores, level_deltas, references in zip(scores, deltas, levels, strict=True):
        # the best pairs of candidate and class are among the candidates whose best class is best: a short list of
        # candidates first, since a level has K times as many pairs
        rows = (
            level_scores.amax(dim=-1).topk(torch.sym_min(selection.per_level, references.shape[0]), dim=1).indices
        )  # (N, R)
        pairs = level_scores.gather(1, rows[..., None].expand(-1, -1, num_classes)).flatten(1)  # (N, R * K)
        best = pairs.topk(torch.sym_min(selection.per_level, pairs.shape[1]), dim=1)
        rows = rows.gather(1, best.indices // num_classes)
        all_boxes.append(clip(coder.decode(take(level_deltas, rows), references[rows]), sizes))
        all_scores.append(best.values)
        all_classes.append(best.indices % num_classes)
    boxes, classes = torch.cat(all_boxes, dim=1), torch.cat(all_classes, dim=1)
    return select_detections(boxes, torch.cat(all_scores, dim=1), classes, num_classes, selection)

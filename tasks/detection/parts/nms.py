"""Non-maximum suppression for many groups of boxes in one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import nms

from vertebra.backbones.kernels.availability import triton_kernel
from vertebra.tasks.detection.parts.boxes import iou
from vertebra.tasks.detection.parts.nms_operator import nms_mask

_KERNEL = "vertebra.tasks.detection.kernels.nms"
MANY = 1000  # boxes, from which on comparing them all takes longer on a CPU than a loop over the groups
MOST_PADDED = 16  # times the boxes
BLOCK = 64  # boxes whose overlaps with all others are held at once


def grouped_nms(boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float) -> Tensor:
    """Suppress boxes that overlap a better one of the same group by more than `threshold`.

    Args:
        boxes: (B, 4) xyxy; boxes without area suppress nothing.
        scores: (B,).
        groups: (B,) int64, from 0 on.
        threshold: intersection over union in 0..1.

    Returns:
        Indices of the kept boxes, best score first.
    """
    if not len(boxes):
        return groups
    if boxes.device.type == "cpu" and len(boxes) > MANY:
        return _nms_group_by_group(boxes.double(), scores, groups, threshold)
    if boxes.dtype == torch.float32 and (suppress := triton_kernel(_KERNEL, boxes.device)) is not None:
        return _nms_in_kernels(boxes, scores, groups, threshold, suppress)
    return _nms_apart(boxes, scores, groups, threshold)


def _nms_apart(boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float) -> Tensor:
    """Return the same for groups that are moved apart until they cannot touch."""
    shift = groups.double() * (boxes.detach().max().double() + 1)  # in double precision, since a shift costs digits
    return nms(boxes.double() + shift[:, None], scores.double(), threshold)


def _nms_group_by_group(boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float) -> Tensor:
    """Return the same for one group after the other, whose boxes are compared with no others."""
    order = groups.argsort(stable=True)
    kept = [
        rows[nms(boxes[rows], scores[rows].double(), threshold)]
        for rows in order.split(groups.unique(return_counts=True)[1].tolist())
    ]
    survivors = torch.cat(kept).sort().values  # by their place, so that equal scores keep their order
    return survivors[scores[survivors].argsort(descending=True, stable=True)]


def _nms_in_kernels(
    boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float, suppress: Callable[[Tensor, float], Tensor]
) -> Tensor:
    """Return the same for all groups at once, padded to the largest; `suppress` is `run` of the kernels.

    torchvision's operator visits the boxes one after the other, those of other groups too.
    """
    order = scores.argsort(descending=True, stable=True)
    order = order[groups[order].argsort(stable=True)]  # by group, and within it best score first
    _, group, counts = groups[order].unique_consecutive(return_inverse=True, return_counts=True)
    place = torch.arange(len(order), device=boxes.device) - (counts.cumsum(dim=0) - counts)[group]
    most = int(counts.max())
    if len(counts) * most > MOST_PADDED * len(boxes):  # one large group among many: mostly padding
        return _nms_apart(boxes, scores, groups, threshold)
    padded = boxes.new_zeros((len(counts), most, 4))
    padded[group, place] = boxes[order]
    survivors = order[suppress(padded, threshold)[group, place]].sort().values  # equal scores keep their order
    return survivors[scores[survivors].argsort(descending=True, stable=True)]


def nms_masks(levels: Sequence[Tensor], threshold: float, allow_sync: bool = True) -> list[Tensor]:
    """Return which boxes survive the suppression within their image and level.

    Args:
        levels: for each level boxes (N, B_l, 4) xyxy, best first; boxes without area suppress nothing.
        threshold: intersection over union in 0..1 above which the better of two boxes stays.
        allow_sync: whether the host may wait for a GPU, as it does anyway where detections are the end of it.

    Returns:
        For each level (N, B_l) bool.
    """
    if torch.compiler.is_exporting():
        return [_nms_mask_of_operator(boxes, threshold) for boxes in levels]
    # with kernels nothing waits; without them waiting once a level and image is faster than a launch per box
    one_by_one = allow_sync and (levels[0].dtype != torch.float32 or triton_kernel(_KERNEL, levels[0].device) is None)
    if one_by_one or levels[0].device.type == "cpu":
        return [torch.stack([_one_nms_mask(boxes, threshold) for boxes in level]) for level in levels]
    most = max(level.shape[1] for level in levels)
    padded = torch.stack([F.pad(level, (0, 0, 0, most - level.shape[1])) for level in levels])  # (L, N, most, 4)
    masks = fixed_shape_nms_mask(padded, threshold)
    return [mask[:, : level.shape[1]] for mask, level in zip(masks, levels, strict=True)]


def fixed_shape_nms_mask(boxes: Tensor, threshold: float) -> Tensor:
    """Return which boxes (..., B, 4), best first, survive, as (..., B) bool, without host-device synchronization.

    torchvision's operator returns one index per survivor. To allocate them the host waits until the GPU has drained its
    queue, and launches nothing in the meantime. This takes a fixed number of steps instead: two kernels where Triton
    runs, and otherwise one for every box.
    """
    suppress = triton_kernel(_KERNEL, boxes.device) if boxes.dtype == torch.float32 else None
    if suppress is not None:
        return suppress(boxes.reshape(boxes.shape[:-2].numel(), *boxes.shape[-2:]), threshold).view(boxes.shape[:-1])
    alive = boxes.new_ones(boxes.shape[:-1])  # 1, or 0 and less from the first suppression on
    for start in range(0, boxes.shape[-2], BLOCK):
        rest, alive_rest = boxes[..., start:, :], alive[..., start:]
        # a box without area overlaps itself by 0/0, and NaN is not above the threshold
        hits = (iou(rest[..., :BLOCK, :], rest) > threshold).triu(1).to(alive.dtype)
        for i in range(hits.shape[-2]):
            alive_rest.addcmul_(hits[..., i, :], alive_rest[..., i : i + 1].clamp(min=0), value=-1)
    return alive > 0


def _nms_mask_of_operator(boxes: Tensor, threshold: float) -> Tensor:
    """Return the same for one level (N, B, 4), as (N, B) bool, by one operator of an exported graph."""
    places = torch.arange(boxes.shape[1], 0, -1, device=boxes.device, dtype=boxes.dtype)  # as scores
    return nms_mask(boxes, places.expand(boxes.shape[0], 1, -1), threshold, 0.0)[:, 0]


def _one_nms_mask(boxes: Tensor, threshold: float) -> Tensor:
    """Return the same for one group of boxes (B, 4), as (B,) bool, with torchvision's operator."""
    places = torch.arange(len(boxes), 0, -1, device=boxes.device, dtype=boxes.dtype)  # as scores: they are in order
    return torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device).index_fill_(
        0, nms(boxes, places, threshold), True
    )

"""Candidate boxes: what a detector scores and corrects."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Candidates(NamedTuple):
    """Anchors, points or proposals of a batch, level after level.

    A point of a network without anchors is the square around it whose side is the stride of its level: so assigners by
    overlap, by center and by cost all read the same table.

    Attributes:
        boxes: (B, 4) float32 xyxy, the same for every image, or (N, B, 4).
        levels: how many boxes each level has, fine to coarse; they sum to B. Proposals are one level.
        valid: (N, B) bool, False for padding; None where there is none.
    """

    boxes: Tensor
    levels: tuple[int, ...]
    valid: Tensor | None = None

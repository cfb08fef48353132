"""Losses of detectors: box regression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from vertebra.tasks.detection.box_coder import BoxCoder


class BoxLoss(Protocol):
    """The regression loss of each candidate box; whoever calls it sums and normalizes."""

    def __call__(self, coder: BoxCoder, deltas: Tensor, references: Tensor, boxes: Tensor, counted: Tensor) -> Tensor:
        """Compare predicted deltas with true boxes.

        Args:
            coder: of the deltas.
            deltas: (..., 4), predicted.
            references: (..., 4) xyxy anchors or proposals; shapes broadcast.
            boxes: (..., 4) xyxy, the true ones.
            counted: (...) bool; elsewhere the loss and its gradient are 0, whatever stands in `boxes`.

        Returns:
            (...) or (..., 4), to be summed.
        """


@dataclass
class SmoothL1:
    """Smooth L1 over the deltas: quadratic below `beta`, linear above.

    Fast R-CNN, Girshick 2015, https://arxiv.org/abs/1504.08083.

    Args:
        beta: where the two pieces meet; 0 is plain L1.
    """

    beta: float = 1.0

    def __call__(self, coder: BoxCoder, deltas: Tensor, references: Tensor, boxes: Tensor, counted: Tensor) -> Tensor:
        wanted = coder.encode(boxes, references)
        # padding encodes to infinities and NaN, of which a mask on the loss would leave NaN in the gradient
        wanted = torch.where(counted[..., None], wanted, deltas.detach())
        return F.smooth_l1_loss(deltas, wanted, beta=self.beta, reduction="none")

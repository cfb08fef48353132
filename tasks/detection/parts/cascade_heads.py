"""The second stage as a cascade: each stage corrects the boxes of the one before, and is trained to be more exact.

Cascade R-CNN: Delving into High Quality Object Detection, Cai and Vasconcelos 2018, https://arxiv.org/abs/1712.00726.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from vertebra.tasks.detection.parts.assigners import IGNORE
from vertebra.tasks.detection.parts.batch import Targets
from vertebra.tasks.detection.parts.box_branch import ScoredBoxes
from vertebra.tasks.detection.parts.boxes import clip
from vertebra.tasks.detection.parts.detection_rows import DetectionRows
from vertebra.tasks.detection.parts.roi_heads import RoIHeads
from vertebra.tasks.detection.parts.rpn import Proposals
from vertebra.tasks.training.divergence.finite_outputs import OutputChecks

MASKS = "mask_probs"
LOSS_WEIGHTS = (1.0, 0.5, 0.25)  # mmdetection's; the paper has 1 for all


class CascadeHeads(nn.Module):
    """Several second stages in a row, each on the boxes that the one before corrected.

    The scores are the softmax of the mean of all stages' logits, as in mmdetection, and the masks the mean of all
    stages' probabilities.

    Args:
        stages: from coarse to exact, whose box branches are class-agnostic.
        loss_weights: factor of the losses of each stage.

    Shape:
        as `RoIHeads`; the names of the losses end in the number of the stage, from 1
    """

    def __init__(self, stages: Sequence[RoIHeads], loss_weights: Sequence[float] = LOSS_WEIGHTS) -> None:
        super().__init__()
        if len(stages) != len(loss_weights):
            raise ValueError(f"there are {len(stages)} stages and {len(loss_weights)} loss_weights; give one for each.")
        self.stages = nn.ModuleList(stages)
        self.loss_weights = tuple(loss_weights)

    def forward(self, features: dict[str, Tensor], proposals: Proposals, sizes: Tensor) -> DetectionRows:
        return self.detections(features, self.score(features, proposals, sizes, OutputChecks()))

    def score(
        self, features: dict[str, Tensor], proposals: Proposals, sizes: Tensor, checks: OutputChecks
    ) -> ScoredBoxes:
        """Return a score and a box for each class of the proposals, in fixed shapes."""
        stages, all_logits = self._stages(), []
        for stage in stages:
            logits, deltas = stage.box.predict(features, proposals.boxes)
            all_logits.append(logits)
            if stage is not stages[-1]:
                boxes = _corrected(stage, proposals.boxes, deltas, sizes)
                # NaN is refused later, and must not become an index of pixels until then
                proposals = Proposals(boxes.nan_to_num() if checks.deferred else boxes, proposals.valid)
        mean = torch.stack(all_logits).mean(dim=0)
        return stages[-1].box.score(mean, deltas, proposals, sizes, checks)

    def detections(self, features: dict[str, Tensor], scored: ScoredBoxes) -> DetectionRows:
        """Select detections, and add what the other branches find in them."""
        stages = self._stages()
        found = stages[-1].box.select(scored)
        extended = [stage.extend(features, found).columns for stage in stages]
        if MASKS not in extended[0]:
            return found
        return found.with_column(MASKS, torch.stack([columns[MASKS] for columns in extended]).mean(dim=0))

    @property
    def has_branches(self) -> bool:
        """Whether there are branches beside those of boxes, which then need the features."""
        return self._stages()[0].has_branches

    def losses(
        self, features: dict[str, Tensor], proposals: Proposals, targets: Targets, sizes: Tensor
    ) -> dict[str, Tensor]:
        """Return the weighted losses of all stages, each over a sample of its own proposals."""
        losses: dict[str, Tensor] = {}
        for number, (stage, weight) in enumerate(zip(self._stages(), self.loss_weights, strict=True), start=1):
            sample = stage.sample(proposals, targets)
            logits, deltas = stage.box.predict(features, sample.boxes)
            of_stage = stage.compare(features, sample, logits, deltas, targets)
            losses |= {f"{name}_{number}": weight * loss for name, loss in of_stage.items()}
            # the next stage adds the true boxes itself
            valid = (sample.labels != IGNORE) & ~sample.is_target
            proposals = Proposals(_corrected(stage, sample.boxes, deltas, sizes), valid)
        return losses

    def _stages(self) -> list[RoIHeads]:
        return cast("list[RoIHeads]", list(self.stages))


@torch.no_grad()
def _corrected(stage: RoIHeads, boxes: Tensor, deltas: Tensor, sizes: Tensor) -> Tensor:
    """Return boxes (N, R, 4) corrected by class-agnostic deltas (N * R, 1, 4), within images of `sizes` (N, 2)."""
    return clip(stage.box.coder.decode(deltas.view(boxes.shape), boxes), sizes)

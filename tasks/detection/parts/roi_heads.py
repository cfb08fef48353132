"""The second stage: a sample of the proposals for training, and the branches that look at proposals.

Fast R-CNN, Girshick 2015, https://arxiv.org/abs/1504.08083; branches beside the box branch as in
Mask R-CNN, He et al. 2017, https://arxiv.org/abs/1703.06870.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import cast

import torch
from torch import Tensor, nn

from vertebra.tasks.detection.parts.assigners import Assigner, IoUAssigner
from vertebra.tasks.detection.parts.batch import Targets
from vertebra.tasks.detection.parts.box_branch import BoxBranch, ScoredBoxes
from vertebra.tasks.detection.parts.boxes import take
from vertebra.tasks.detection.parts.candidates import Candidates
from vertebra.tasks.detection.parts.detection_rows import DetectionRows
from vertebra.tasks.detection.parts.rpn import Proposals
from vertebra.tasks.detection.parts.sampling import BalancedSampler, RoISample, Sample
from vertebra.tasks.training.divergence.finite_outputs import OutputChecks


class RoIBranch(nn.Module, ABC):
    """Base of what is learned of a proposal beside its class and box: a mask, keypoints, attributes.

    Shape:
        - features: dict of (N, C, H_l, W_l)
        - detections: of the box branch
        - output: the same with the column of this branch
    """

    @abstractmethod
    def forward(self, features: dict[str, Tensor], detections: DetectionRows) -> DetectionRows: ...

    @abstractmethod
    def losses(self, features: dict[str, Tensor], sample: RoISample, targets: Targets) -> dict[str, Tensor]:
        """Return scalar losses by name over a sample of the proposals; see `Detector.losses`."""


class RoIHeads(nn.Module):
    """Proposals to detections: the box branch, and others on what it finds.

    Args:
        box: the branch that classifies proposals and corrects their boxes.
        assigner: proposals to objects.
        sampler: labels (N, R) to the proposals that enter the losses.
        branches: further branches by name.

    Shape:
        - features: dict of (N, C, H_l, W_l)
        - proposals: `Proposals` with R boxes an image
        - output: `DetectionRows` with what the branches add
    """

    def __init__(
        self,
        box: BoxBranch,
        assigner: Assigner | None = None,
        sampler: Callable[[Tensor], Sample] | None = None,
        branches: Mapping[str, RoIBranch] | None = None,
    ) -> None:
        super().__init__()
        self.box = box
        self.assigner = assigner or IoUAssigner(0.5, 0.5)
        self.sampler = sampler or BalancedSampler(512, object_fraction=0.25)
        self.branches = nn.ModuleDict(branches)

    def forward(self, features: dict[str, Tensor], proposals: Proposals, sizes: Tensor) -> DetectionRows:
        return self.detections(features, self.score(features, proposals, sizes, OutputChecks()))

    def score(
        self, features: dict[str, Tensor], proposals: Proposals, sizes: Tensor, checks: OutputChecks
    ) -> ScoredBoxes:
        """Return a score and a box for each class of the proposals, in fixed shapes."""
        logits, deltas = self.box.predict(features, proposals.boxes)
        return self.box.score(logits, deltas, proposals, sizes, checks)

    def detections(self, features: dict[str, Tensor], scored: ScoredBoxes) -> DetectionRows:
        """Select detections, and add what the other branches find in them."""
        return self.extend(features, self.box.select(scored))

    @property
    def has_branches(self) -> bool:
        """Whether there is a branch beside that of boxes, which then needs the features."""
        return bool(self.branches)

    def losses(self, features: dict[str, Tensor], proposals: Proposals, targets: Targets) -> dict[str, Tensor]:
        """Return the losses of all branches over a sample of the proposals."""
        sample = self.sample(proposals, targets)
        logits, deltas = self.box.predict(features, sample.boxes)
        return self.compare(features, sample, logits, deltas, targets)

    def compare(
        self, features: dict[str, Tensor], sample: RoISample, logits: Tensor, deltas: Tensor, targets: Targets
    ) -> dict[str, Tensor]:
        """Return the losses of all branches, given what the box branch predicts for a sample of the proposals."""
        losses = self.box.losses(logits, deltas, sample, targets)
        for branch in self._others():
            losses |= branch.losses(features, sample, targets)
        return losses

    def extend(self, features: dict[str, Tensor], detections: DetectionRows) -> DetectionRows:
        """Add what the other branches find in detections of the box branch."""
        for branch in self._others():
            detections = branch(features, detections)
        return detections

    @torch.no_grad()
    def sample(self, proposals: Proposals, targets: Targets) -> RoISample:
        """Draw the proposals that train; the true boxes are among them, so that there is always something to learn."""
        boxes = torch.cat((proposals.boxes, targets.boxes), dim=1)
        valid = torch.cat((proposals.valid, targets.labels > 0), dim=1)
        assigned = self.assigner(Candidates(boxes, (boxes.shape[1],), valid), targets)
        indices, labels, most_objects = self.sampler(assigned.labels)
        objects, is_target = assigned.objects.gather(1, indices), indices >= proposals.boxes.shape[1]
        return RoISample(take(boxes, indices), labels, objects, is_target, most_objects)

    def _others(self) -> list[RoIBranch]:
        return cast("list[RoIBranch]", list(self.branches.values()))

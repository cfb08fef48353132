"""Base of two-stage detectors: what they compute in fixed shapes, and the detections selected from it."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from vertebra.tasks.detection.networks.detector import Detector
from vertebra.tasks.detection.parts.batch import ImageBatch
from vertebra.tasks.detection.parts.box_branch import ScoredBoxes
from vertebra.tasks.detection.parts.cascade_heads import CascadeHeads
from vertebra.tasks.detection.parts.detection_rows import DetectionRows
from vertebra.tasks.detection.parts.roi_heads import RoIHeads
from vertebra.tasks.detection.parts.rpn import RegionProposalNetwork
from vertebra.tasks.training.divergence.finite_outputs import OutputChecks, refuse_peaks


class TwoStageOutputs(NamedTuple):
    """What a two-stage detector computes in fixed shapes.

    Attributes:
        features: the pyramid, where branches need it for what is detected; else empty.
        scored: boxes and scores of all proposals.
        peaks: of the outputs, see `OutputChecks`.
    """

    features: dict[str, Tensor]
    scored: ScoredBoxes
    peaks: Tensor | None


class TwoStageDetector(Detector):
    """A detector of proposals and a second stage over them; a network adds `rpn` and `roi_heads`.

    Attributes:
        rpn: makes the proposals.
        roi_heads: the second stage.
    """

    rpn: RegionProposalNetwork
    roi_heads: RoIHeads | CascadeHeads

    def detect(self, features: dict[str, Tensor], batch: ImageBatch) -> DetectionRows:
        return self.finish(self.outputs(features, batch, OutputChecks()), batch)

    def outputs(self, features: dict[str, Tensor], batch: ImageBatch, checks: OutputChecks) -> TwoStageOutputs:
        proposals, _ = self.rpn(features, batch.padded_size, batch.sizes, checks=checks)
        scored = self.roi_heads.score(features, proposals, batch.sizes, checks)
        return TwoStageOutputs(features if self.roi_heads.has_branches else {}, scored, checks.peaks())

    def finish(self, outputs: TwoStageOutputs, batch: ImageBatch) -> DetectionRows:
        if outputs.peaks is not None:
            refuse_peaks(outputs.peaks)
        return self.roi_heads.detections(outputs.features, outputs.scored)

"""Base of one-stage detectors: a head on every level of a pyramid, and candidates that its outputs belong to."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from vertebra.backbones import Backbone
from vertebra.tasks.detection.networks.detector import Detector
from vertebra.tasks.detection.parts.anchors import Anchors
from vertebra.tasks.detection.parts.assigners import Assigner
from vertebra.tasks.detection.parts.batch import ImageBatch, Targets
from vertebra.tasks.detection.parts.candidates import Candidates
from vertebra.tasks.detection.parts.detection_rows import DetectionRows
from vertebra.tasks.training.divergence.finite_outputs import OutputChecks, refuse_peaks

Outputs = Sequence[list[Tensor]]


class DenseOutputs(NamedTuple):
    """What a one-stage detector computes in fixed shapes.

    Attributes:
        of_head: lists, each with a tensor (N, B_l, ...) a level.
        candidates: what they belong to.
        peaks: of the outputs, see `OutputChecks`.
    """

    of_head: Outputs
    candidates: Candidates
    peaks: Tensor | None


class DenseDetector(Detector):
    """A one-stage detector: its head predicts something for every candidate of the pyramid.

    A network subclasses it with `compare` and `select`.

    Args:
        backbone: images to feature maps.
        neck: feature maps to a pyramid.
        anchors: the candidates.
        head: list of maps (N, C, H_l, W_l) -> lists, each with a tensor (N, B_l, ...) a level.
        assigner: which object each candidate is to learn.
    """

    compiled = (*Detector.compiled, "head")

    def __init__(
        self, backbone: Backbone, neck: nn.Module, anchors: Anchors, head: nn.Module, assigner: Assigner
    ) -> None:
        super().__init__(backbone, neck)
        self.anchors = anchors
        self.head = head
        self.assigner = assigner

    def losses(self, features: dict[str, Tensor], batch: ImageBatch, targets: Targets) -> dict[str, Tensor]:
        maps = list(features.values())
        return self.compare(self.head(maps), self.anchors.candidates(maps, batch.padded_size), targets)

    def detect(self, features: dict[str, Tensor], batch: ImageBatch) -> DetectionRows:
        return self.finish(self.outputs(features, batch, OutputChecks()), batch)

    def outputs(self, features: dict[str, Tensor], batch: ImageBatch, checks: OutputChecks) -> DenseOutputs:
        maps = list(features.values())
        outputs = self.head(maps)
        for levels in outputs:  # the sigmoid of an infinity is a number, and looks like an answer
            for output in levels:
                checks(output)
        return DenseOutputs(outputs, self.anchors.candidates(maps, batch.padded_size), checks.peaks())

    def finish(self, outputs: DenseOutputs, batch: ImageBatch) -> DetectionRows:
        if outputs.peaks is not None:
            refuse_peaks(outputs.peaks)
        return self.select(outputs.of_head, outputs.candidates, batch.sizes)

    @abstractmethod
    def compare(self, outputs: Outputs, candidates: Candidates, targets: Targets) -> dict[str, Tensor]:
        """Return the losses by name, as `Detector.losses`."""

    @abstractmethod
    def select(self, outputs: Outputs, candidates: Candidates, sizes: Tensor) -> DetectionRows:
        """Return detections in images of `sizes` (N, 2), height and width, as `Detector.detect`."""

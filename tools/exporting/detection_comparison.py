"""Comparison of the detections of an exported file with those of the eager network."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from vertebra.tasks.detection.parts.batch import ImageBatch
from vertebra.tasks.detection.parts.boxes import iou

LEAST_IOU = 0.99  # of two boxes that are one detection
LEAST_MATCHED = 0.99  # part of the detections: boxes whose overlap is at the threshold may survive in one network only
SCORE_TOLERANCE = 1e-3  # of two scores that are of one detection
METRIC_TOLERANCE = 1e-3  # of average precision


@dataclass
class DetectionComparison:
    """Differences between the detections of two networks, of the same class in the same image.

    Attributes:
        samples: number of images of the data set.
        detections: number of detections of the eager network.
        matched: part of the detections of either network that the other has, 0..1.
        box_difference: largest difference in pixels of a coordinate of two matched boxes.
        score_difference: largest difference of two matched scores.
        further: name -> largest difference of what matched detections have besides, such as `mask_probs`.
        shapes: of the batches, each once.
        metrics: name -> metric of the eager network, and of the file; empty without labels.
    """

    samples: int = 0
    detections: int = 0
    box_difference: float = 0.0
    score_difference: float = 0.0
    further: dict[str, float] = field(default_factory=dict)
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    metrics: dict[str, tuple[float, float]] = field(default_factory=dict)
    _matched: int = 0
    _all: int = 0  # the larger of both numbers of detections, of each image

    @property
    def matched(self) -> float:
        """Part of the detections of either network that the other has."""
        return self._matched / self._all if self._all else 1.0

    @property
    def deviation(self) -> float:
        """How far the outputs are apart: part of the detections without a match."""
        return 1 - self.matched

    def empty(self) -> DetectionComparison:
        """Return a comparison without samples."""
        return DetectionComparison()

    def add(self, inputs: ImageBatch, eager: list[dict[str, Tensor]], exported: list[dict[str, Tensor]]) -> None:
        """Compare the detections in one batch."""
        for one, other in zip(eager, exported, strict=True):
            self.detections += len(one["boxes"])
            self._all += max(len(one["boxes"]), len(other["boxes"]))
            if len(one["boxes"]) and len(other["boxes"]):
                self._add_image(one, other)
        if tuple(inputs.images.shape) not in self.shapes:
            self.shapes.append(tuple(inputs.images.shape))

    def _add_image(self, one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
        overlaps = iou(one["boxes"].float(), other["boxes"].float())  # (D, E)
        gaps = (one["scores"][:, None] - other["scores"]).abs()
        is_same = (one["labels"][:, None] == other["labels"]) & (overlaps >= LEAST_IOU) & (gaps <= SCORE_TOLERANCE)
        best = overlaps.where(is_same, -1.0).max(dim=1)
        matched = best.values >= 0
        partners = best.indices[matched]
        # two detections of one network may not share a partner
        self._matched += len(partners.unique())
        if len(partners):
            boxes = (one["boxes"][matched] - other["boxes"][partners]).abs().max()
            self.box_difference = max(self.box_difference, float(boxes))
            self.score_difference = max(self.score_difference, float(gaps[matched, partners].max()))
            for name in one.keys() - {"boxes", "scores", "labels"}:
                largest = float((one[name][matched] - other[name][partners]).abs().max())
                self.further[name] = max(self.further.get(name, 0.0), largest)

    def fault(self) -> str | None:
        """Return in what the detections differ by more than is tolerated, or None."""
        if not self.matched >= LEAST_MATCHED:
            return f"{self.matched:.2%} of the detections are those of the run, {LEAST_MATCHED:.0%} are required"
        for name, (eager, exported) in self.metrics.items():
            if abs(eager - exported) > METRIC_TOLERANCE:
                return f"{name} is {exported:.4f} and {eager:.4f} with the run, {METRIC_TOLERANCE:.0e} is tolerated"
        return None

    def summary(self) -> str:
        """Return the comparison in a clause."""
        if not self._all:
            return "neither network detects anything there, so no boxes were compared"
        return (
            f"{self.matched:.2%} of {self.detections} detections matched, largest difference "
            f"{self.box_difference:.2g} pixels and {self.score_difference:.1g} of a score"
        ) + "".join(f", {value:.1g} of {name}" for name, value in self.further.items())

    def record(self) -> dict[str, Any]:
        """Return the comparison as entries of `export.json`."""
        return {
            "detections": self.detections,
            "matched": self.matched,
            "least_matched": LEAST_MATCHED,
            "largest_difference_of_a_box": self.box_difference,
            "largest_difference_of_a_score": self.score_difference,
            **{f"largest_difference_of_{name}": value for name, value in self.further.items()},
            "metric_tolerance": METRIC_TOLERANCE,
        }

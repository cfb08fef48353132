"""COCO's average precision of boxes and masks over all images of all processes, and what a report is made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from vertebra.tasks.detection.evaluation.average_precision import Outcomes, evaluate
from vertebra.tasks.detection.evaluation.evaluated_image import EvaluatedImage
from vertebra.tasks.detection.evaluation.regions import BoxRegions, MaskRegions, Regions
from vertebra.tasks.loading.processes import all_gather

# Indices in the arrays of `evaluate`: IoU 0.50, 0.55, ..., 0.95; areas all, small, medium, large; 1, 10,
# 100 boxes.
_IOU_50, _IOU_75 = 0, 5
_ALL, _SMALL, _MEDIUM, _LARGE = range(4)
_100_BOXES = 2


@dataclass(frozen=True)
class CocoScores:
    """COCO's numbers of boxes, or of masks; every score is in 0..1, or NaN where there was no truth to score by.

    Attributes:
        ap: mean over IoU 0.50:0.95 and over the classes that have truth.
        ap50: the same at IoU 0.5.
        ap75: the same at IoU 0.75.
        ap_small: `ap` of objects up to 32 x 32 pixels.
        ap_medium: `ap` of objects between 32 x 32 and 96 x 96 pixels.
        ap_large: `ap` of objects from 96 x 96 pixels on.
        ar100: mean recall over IoU 0.50:0.95 with at most 100 detections of a class in an image.
        per_class_ap: (K,) float64.
        per_class_ap50: (K,) float64.
        precision_at_50: (101, K) float64, precision at IoU 0.5 for the recalls 0, 0.01, ..., 1.
        outcomes_at_50: whether each detection is right at IoU 0.5.
    """

    ap: float
    ap50: float
    ap75: float
    ap_small: float
    ap_medium: float
    ap_large: float
    ar100: float
    per_class_ap: np.ndarray
    per_class_ap50: np.ndarray
    precision_at_50: np.ndarray
    outcomes_at_50: Outcomes

    @classmethod
    def of(cls, images: Sequence[EvaluatedImage], num_classes: int, regions: type[Regions]) -> CocoScores:
        """Score the boxes or masks of images, each once."""
        # (IoU, recall, class, area, boxes) and (IoU, class, area, boxes); -1 marks "no truth".
        *marked, outcomes = evaluate(images, num_classes, regions)
        precision, recall = (np.where(values < 0, np.nan, values) for values in marked)
        precision = precision[..., _100_BOXES]  # (10, 101, K, 4)
        return cls(
            ap=_mean(precision[:, :, :, _ALL]),
            ap50=_mean(precision[_IOU_50, :, :, _ALL]),
            ap75=_mean(precision[_IOU_75, :, :, _ALL]),
            ap_small=_mean(precision[:, :, :, _SMALL]),
            ap_medium=_mean(precision[:, :, :, _MEDIUM]),
            ap_large=_mean(precision[:, :, :, _LARGE]),
            ar100=_mean(recall[:, :, _ALL, _100_BOXES]),
            per_class_ap=precision[:, :, :, _ALL].mean(axis=(0, 1)),
            per_class_ap50=precision[_IOU_50, :, :, _ALL].mean(axis=0),
            precision_at_50=precision[_IOU_50, :, :, _ALL],
            outcomes_at_50=outcomes,
        )

    def table(self) -> dict[str, float]:
        """Return the numbers that COCO's own table shows, by their usual names."""
        return {
            "AP": self.ap,
            "AP50": self.ap50,
            "AP75": self.ap75,
            "AP small": self.ap_small,
            "AP medium": self.ap_medium,
            "AP large": self.ap_large,
            "AR100": self.ar100,
        }


@dataclass(frozen=True)
class DetectionResults(CocoScores):
    """What a detector scored on a set of images: of its boxes, and of its masks if it has any.

    Attributes:
        class_names: the K classes; label k is `class_names[k - 1]`.
        num_truth: (K,) int64, objects of each class, crowd regions not counted.
        images: the images behind the numbers, each once, by `image_id`.
        masks: the numbers of the masks; None where the network or the data has none.
    """

    class_names: tuple[str, ...]
    num_truth: np.ndarray
    images: tuple[EvaluatedImage, ...]
    masks: CocoScores | None = None

    def scores(self) -> dict[str, float]:
        """Return what is logged."""
        masks = {} if self.masks is None else {"mask_map": self.masks.ap, "mask_map50": self.masks.ap50}
        return {"map": self.ap, "map50": self.ap50, **masks}

    def label_counts(self) -> np.ndarray:
        """Return the number of objects of each class, (K,) int64."""
        return self.num_truth

    def headline(self) -> dict[str, float]:
        """Return the numbers that COCO's own tables show, by their usual names."""
        masks = {} if self.masks is None else {f"mask {name}": value for name, value in self.masks.table().items()}
        return {**self.table(), **masks}


class CocoMetric:
    """Collect evaluated images and score them as pycocotools does.

    Average precision is no mean over batches, so each process keeps its images and `compute` gathers all of them: the
    number is the same on one process and on many.

    Microsoft COCO: Common Objects in Context, Lin et al. 2014, https://arxiv.org/abs/1405.0312.

    Args:
        class_names: the K classes; label k is `class_names[k - 1]`.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self.class_names = tuple(class_names)
        self._images: list[EvaluatedImage] = []

    def update(self, images: Iterable[EvaluatedImage]) -> None:
        """Add images.

        Raises:
            ValueError: a label is not in 1..K.
        """
        for image in images:
            for whose, labels in (("truth", image.truth.labels), ("detection", image.detections.labels)):
                if len(labels) and not 1 <= labels.min() <= labels.max() <= len(self.class_names):
                    raise ValueError(
                        f"{image.file}: a {whose} has a label in {labels.min()}..{labels.max()}, but the "
                        f"{len(self.class_names)} classes are labeled 1..{len(self.class_names)}; check that the "
                        "network's num_classes and the data set's classes agree."
                    )
            self._images.append(image)

    def reset(self) -> None:
        """Forget all images."""
        self._images = []

    def compute(self) -> DetectionResults:
        """Score the images of all processes; every process must call this, and each gets the same results."""
        images = _gather(self._images)
        count = len(self.class_names)
        truth = [image.truth.labels[~image.truth.crowd] for image in images]
        has_masks = bool(images) and all(
            image.truth.masks is not None and image.detections.masks is not None for image in images
        )
        return DetectionResults(
            **vars(CocoScores.of(images, count, BoxRegions)),
            class_names=self.class_names,
            num_truth=np.bincount(np.concatenate([np.zeros(0, int), *truth]), minlength=count + 1)[1:],
            images=images,
            masks=CocoScores.of(images, count, MaskRegions) if has_masks else None,
        )


def _gather(images: list[EvaluatedImage]) -> tuple[EvaluatedImage, ...]:
    """Return the images of all processes, each once: samplers repeat some to give every process as many."""
    unique: dict[int, EvaluatedImage] = {}
    for image in all_gather(images):
        unique.setdefault(image.image_id, image)
    # One order whatever the number of processes, and the one by which COCOeval breaks ties between equal scores.
    return tuple(unique[image_id] for image_id in sorted(unique))


def _mean(values: np.ndarray) -> float:
    """Return the mean of what is not NaN, and NaN where nothing is left."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else float("nan")

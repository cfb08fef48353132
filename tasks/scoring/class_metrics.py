"""Classification metric: accuracy, calibration and confusion over all processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vertebra.tasks.loading.processes import all_gather
from vertebra.tasks.scoring.calibration import Reliability, reliability

NUM_TOP = 5


class Evaluated(NamedTuple):
    """True labels and predictions of evaluated images.

    Attributes:
        indices: (N,) int64, index of each image in its split.
        names: (N,) str, name of each image, such as its path.
        groups: (N,) str, group of each image (a patient, a recording); its name where that is unknown.
        labels: (N,) int64 in 0..K-1, the truth.
        top_labels: (N, T) int64, the T = min(5, K) most probable classes in descending order.
        top_scores: (N, T) float64, their probabilities.
        losses: (N,) float64, negative log-likelihood of the true class.
        probs: (N, K) float32 in 0..1, or (N, 0) where they are not kept.
    """

    indices: np.ndarray
    names: np.ndarray
    groups: np.ndarray
    labels: np.ndarray
    top_labels: np.ndarray
    top_scores: np.ndarray
    losses: np.ndarray
    probs: np.ndarray


@dataclass(frozen=True)
class ClassificationResults:
    """Scores of a classifier on a set of images, in 0..1, or NaN where undefined.

    Attributes:
        class_names: the K classes.
        images: the evaluated images, each once, sorted by `indices`.
        top1: fraction of images whose most probable class is the true one.
        top5: fraction of images whose true class is among the five most probable.
        mean_class_accuracy: mean recall over the classes that have images (macro average).
        loss: mean cross-entropy, in nats.
        reliability: reliability diagram of the most probable classes.
        confusion: (K, K) int64 counts; rows are the truth, columns the prediction.
    """

    class_names: tuple[str, ...]
    images: Evaluated
    top1: float
    top5: float
    mean_class_accuracy: float
    loss: float
    reliability: Reliability
    confusion: np.ndarray

    @property
    def per_class_accuracy(self) -> np.ndarray:
        """(K,) float64, part of the images of each class that is found; NaN for a class without images."""
        return _ratio(np.diag(self.confusion), self.confusion.sum(axis=1))

    @property
    def per_class_precision(self) -> np.ndarray:
        """(K,) float64, precision of each class; NaN for a class that is never predicted."""
        return _ratio(np.diag(self.confusion), self.confusion.sum(axis=0))

    @property
    def correct(self) -> np.ndarray:
        """(N,) bool, whether the likeliest class is the true one."""
        return self.images.top_labels[:, 0] == self.images.labels

    def scores(self) -> dict[str, float]:
        """Return what is logged; top-5 only where there are more than five classes."""
        top5 = {"top5": self.top5} if len(self.class_names) > NUM_TOP else {}
        return {"loss": self.loss, "top1": self.top1, "ece": self.reliability.error, **top5}

    def label_counts(self) -> np.ndarray:
        """Return the number of images of each class, (K,) int64."""
        return self.confusion.sum(axis=1)

    def headline(self) -> dict[str, float]:
        """Return the headline numbers of the report; top-5 only where there are more than five classes."""
        top5 = {"top-5": self.top5} if len(self.class_names) > NUM_TOP else {}
        return {
            "top-1": self.top1,
            **top5,
            "mean over classes": self.mean_class_accuracy,
            "calibration error": self.reliability.error,
            "cross-entropy": self.loss,
        }


class ClassificationMetric:
    """Collect evaluated images and score them.

    Each process keeps a few numbers an image, and `compute` gathers those of all of them, so that the result is the
    same on one process and on many, however the images were shared out.

    Args:
        class_names: the K classes.
        keep_probs: keep the probability of every class, not only of the likeliest: of a thousand classes much memory.
    """

    def __init__(self, class_names: Sequence[str], keep_probs: bool = False) -> None:
        self.class_names = tuple(class_names)
        self.keep_probs = keep_probs
        self._batches: list[Evaluated] = []

    def update(
        self,
        logits: Tensor,
        labels: Tensor,
        indices: Tensor,
        names: Sequence[str] | None = None,
        groups: Sequence[str] | None = None,
    ) -> None:
        """Add images.

        Args:
            logits: (N, K).
            labels: (N,) int64 in 0..K-1.
            indices: (N,) int64, unique in the data set.
            names: what each image is called; its index if not given.
            groups: where each image comes from; its name if not given.

        Raises:
            ValueError: there is no logit for every class, or a label is not in 0..K-1.
        """
        num_classes = len(self.class_names)
        if logits.shape[1] != num_classes or (len(labels) and not 0 <= labels.min() <= labels.max() < num_classes):
            span = f"{int(labels.min())}..{int(labels.max())}" if len(labels) else "none"
            raise ValueError(
                f"the network gives {logits.shape[1]} logits and the labels are {span}, but there are {num_classes} "
                "classes; check that the network's num_classes and the data set's classes agree."
            )
        logits, labels = logits.detach().cpu(), labels.cpu()
        scores, top_labels = topk(logits)
        losses = torch.nn.functional.cross_entropy(logits.double(), labels, reduction="none")
        probs = logits.double().softmax(dim=1).float()[:, : num_classes if self.keep_probs else 0]
        parts = (part.numpy() for part in (labels, top_labels, scores, losses, probs))
        self._batches.append(Evaluated(*identity(indices, names, groups), *parts))

    def reset(self) -> None:
        """Forget all images."""
        self._batches = []

    def compute(self) -> ClassificationResults:
        """Score the images of all processes; every process must call this, and each gets the same results."""
        images = self._gather()
        num_classes = len(self.class_names)
        correct = images.top_labels[:, 0] == images.labels
        among = (images.top_labels == images.labels[:, None]).any(axis=1)
        pairs = images.labels * num_classes + images.top_labels[:, 0]
        confusion = np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)
        per_class = _ratio(np.diag(confusion), confusion.sum(axis=1))
        return ClassificationResults(
            class_names=self.class_names,
            images=images,
            top1=_mean(correct),
            top5=_mean(among),
            mean_class_accuracy=_mean(per_class[~np.isnan(per_class)]),
            loss=_mean(images.losses),
            reliability=reliability(images.top_scores[:, 0], correct),
            confusion=confusion,
        )

    def _gather(self) -> Evaluated:
        """Return the images of all processes, each once and in one order whatever the number of processes."""
        num_top = min(NUM_TOP, len(self.class_names))
        nothing = np.zeros(0, dtype=np.int64)
        no_probs = np.zeros((0, len(self.class_names) if self.keep_probs else 0), dtype=np.float32)
        top = (nothing.reshape(0, num_top), np.zeros((0, num_top)))
        unnamed = nothing.astype(str)
        none = Evaluated(nothing, unnamed, unnamed, nothing, *top, np.zeros(0), no_probs)
        parts = [none, *all_gather(self._batches)]
        whole = Evaluated(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
        _, first = np.unique(whole.indices, return_index=True)  # sorted by index
        return Evaluated(*(column[first] for column in whole))


def identity(
    indices: Tensor, names: Sequence[str] | None = None, groups: Sequence[str] | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what evaluated samples are known by: place in the split (N,), name (N,) and group (N,)."""
    places = indices.cpu().numpy()
    called = places.astype(str) if names is None else np.array(names, dtype=str)
    return places, called, called if groups is None else np.array(groups, dtype=str)


def topk(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return probabilities (N, T) float64 and labels (N, T) int64 of the T = min(5, K) likeliest classes, on the CPU.

    Of classes that are equally likely the first comes first.
    """
    scores, labels = logits.detach().cpu().double().softmax(dim=1).sort(dim=1, descending=True, stable=True)
    return scores[:, :NUM_TOP], labels[:, :NUM_TOP]


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")

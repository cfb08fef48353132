"""Metric of medical classifiers: accumulates logits over batches and processes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from vertebra.tasks.loading.labeled_files import UNLABELED
from vertebra.tasks.loading.processes import all_gather
from vertebra.tasks.medical.measures import Evaluated
from vertebra.tasks.medical.results import MedicalResults
from vertebra.tasks.medical.studies import Kind
from vertebra.tasks.scoring.class_metrics import identity
from vertebra.tasks.scoring.conditions import condition_classes
from vertebra.tasks.scoring.operating_point import DEFAULT_THRESHOLD


class MedicalMetric:
    """Accumulates logits and labels of studies, and computes `MedicalResults`.

    Each process keeps the logits of its studies, and `compute` gathers those of all processes. Averaging per-process
    results would be wrong: AUROC is not a mean over studies.

    Args:
        class_names: the K classes, grades or findings.
        kind: `classes` (mutually exclusive), `grades` (exclusive and ordered) or `findings` (multilabel).

    Raises:
        ValueError: fewer than two exclusive classes.
    """

    def __init__(self, class_names: Sequence[str], kind: Kind) -> None:
        self.class_names = tuple(class_names)
        self.kind = kind
        if len(self.class_names) < (1 if kind == "findings" else 2):
            raise ValueError(
                f"the classes are {list(self.class_names)}; expected two or more {kind}, of which a study has one. "
                "List all of them, or use kind findings."
            )
        self._batches: list[Evaluated] = []

    def update(
        self,
        logits: Tensor,
        labels: Tensor,
        indices: Tensor,
        names: Sequence[str] | None = None,
        patients: Sequence[str] | None = None,
    ) -> None:
        """Add studies; studies without a label are ignored.

        Args:
            logits: (N, K).
            labels: (N,) int64 in 0..K-1 or `UNLABELED`, or (N, K) of 0, 1 and NaN (unknown) for findings.
            indices: (N,) int64, unique in the data set.
            names: study names; None uses the indices.
            patients: patient ids; None counts each study as its own patient.

        Raises:
            ValueError: the shapes do not match the classes, or a label is out of range.
        """
        labels = labels.cpu()  # a synchronization per batch is acceptable here: training keeps no metric
        num_classes = len(self.class_names)
        shape = (len(labels), num_classes)
        expected = shape if self.kind == "findings" else shape[:1]
        if logits.shape != shape or labels.shape != expected:
            raise ValueError(
                f"logits are {tuple(logits.shape)} and labels {tuple(labels.shape)}, but {num_classes} {self.kind} "
                f"have logits {shape} and labels {expected}; use the same kind and classes in network, target and data."
            )
        unknown = labels.isnan() if self.kind == "findings" else labels == UNLABELED
        known, largest = labels[~unknown], 1 if self.kind == "findings" else num_classes - 1
        if len(known) and not 0 <= known.min() <= known.max() <= largest:
            raise ValueError(
                f"labels are {known.min():g}..{known.max():g}; expected 0..{largest} for {num_classes} {self.kind}. "
                "Evaluate with the classes of training."
            )
        labeled = ~(unknown.all(dim=1) if self.kind == "findings" else unknown)
        # float64 on the host: rankings and log losses must not depend on the precision of training
        parts = (*identity(indices, names, patients), labels.numpy(), logits.detach().cpu().double().numpy())
        self._batches.append(Evaluated(*(part[labeled.numpy()] for part in parts)))

    def reset(self) -> None:
        """Remove all studies."""
        self._batches = []

    def compute(self) -> MedicalResults:
        """Return the results of all processes; a collective call, with the same result on each process.

        At temperature 1 and thresholds of 0.5, see `MedicalResults.at`.

        Raises:
            ValueError: a logit is not finite.
        """
        studies = self._gather()
        # sorting would put NaN at one end of a ranking and give a plausible but wrong AUROC
        is_broken = ~np.isfinite(studies.logits).all(axis=1)
        if is_broken.any():
            raise ValueError(
                f"the logits of {is_broken.sum()} of {len(is_broken)} studies are not finite, first of study "
                f"{studies.indices[is_broken][0]}; the training has diverged, or 16-bit numbers have overflowed. Lower "
                "the learning rate, clip the gradients, or train with precision=32-true."
            )
        num_conditions = len(condition_classes(len(self.class_names), self.kind != "findings"))
        return MedicalResults(self.class_names, self.kind, studies, np.full(num_conditions, DEFAULT_THRESHOLD))

    def _gather(self) -> Evaluated:
        """Return the studies of all processes, without duplicates, sorted by index."""
        num_classes = len(self.class_names)
        # an empty table first: gives types and shapes when no process has a labeled study
        empty = np.zeros(0, dtype=np.int64)
        no_names, labels = empty.astype(str), np.zeros((0, num_classes)) if self.kind == "findings" else empty
        parts = [Evaluated(empty, no_names, no_names, labels, np.zeros((0, num_classes))), *all_gather(self._batches)]
        merged = Evaluated(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
        # distributed samplers repeat studies to give every process as many
        _, first = np.unique(merged.indices, return_index=True)
        return Evaluated(*(column[first] for column in merged))

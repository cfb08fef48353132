"""Metric of studies: collects predictions from all processes and scores them."""

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
    """Collect evaluated studies and score them.

    Each process keeps the logits of its studies, and `compute` gathers those of all of them, so that the result is the
    same on one process and on many, however the studies were shared out.

    Args:
        class_names: the K classes, grades or findings.
        kind: whether a study has one class (`classes`), one of several grades that have an order (`grades`), or any
            number of findings (`findings`).

    Raises:
        ValueError: there is only one class to choose of.
    """

    def __init__(self, class_names: Sequence[str], kind: Kind) -> None:
        self.class_names = tuple(class_names)
        self.kind = kind
        if len(self.class_names) < (1 if kind == "findings" else 2):
            raise ValueError(
                f"the classes are {list(self.class_names)}; {kind} are two or more of which a study has one. Name all "
                "of them, or make them findings."
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
        """Add studies; those without a label are left out.

        Args:
            logits: (N, K).
            labels: (N,) int64 in 0..K-1 or `UNLABELED`, or (N, K) of 0, 1 and NaN (unknown) for findings.
            indices: (N,) int64, unique in the data set.
            names: what each study is called; its index if not given.
            patients: whose each study is; a patient of its own if not given.

        Raises:
            ValueError: there is no logit for every class, or a label is none of those above.
        """
        labels = labels.cpu()
        num_classes = len(self.class_names)
        shape = (len(labels), num_classes)
        expected = shape if self.kind == "findings" else shape[:1]
        if logits.shape != shape or labels.shape != expected:
            raise ValueError(
                f"logits are {tuple(logits.shape)} and labels {tuple(labels.shape)}, but {num_classes} {self.kind} "
                f"have logits {shape} and labels {expected}; check that network, target and data set agree."
            )
        unknown = labels.isnan() if self.kind == "findings" else labels == UNLABELED
        known, most = labels[~unknown], 1 if self.kind == "findings" else num_classes - 1
        if len(known) and not 0 <= known.min() <= known.max() <= most:
            raise ValueError(
                f"labels are {known.min():g}..{known.max():g}; those of {num_classes} {self.kind} are 0..{most}. "
                "Measure with the classes of the training."
            )
        labeled = ~(unknown.all(dim=1) if self.kind == "findings" else unknown)
        parts = (*identity(indices, names, patients), labels.numpy(), logits.detach().cpu().double().numpy())
        self._batches.append(Evaluated(*(part[labeled.numpy()] for part in parts)))

    def reset(self) -> None:
        """Forget all studies."""
        self._batches = []

    def compute(self) -> MedicalResults:
        """Score the studies of all processes; every process must call this, and each gets the same results.

        They are at temperature 1 and thresholds of 0.5, see `MedicalResults.at`.

        Raises:
            ValueError: a logit is not finite.
        """
        studies = self._gather()
        broken = ~np.isfinite(studies.logits).all(axis=1)
        if broken.any():
            raise ValueError(
                f"the logits of {broken.sum()} of {len(broken)} studies are not finite, first of study "
                f"{studies.indices[broken][0]}; the training has diverged, or 16-bit numbers have overflowed. Lower "
                "the learning rate, clip the gradients, or train with precision=32-true."
            )
        number = len(condition_classes(len(self.class_names), self.kind != "findings"))
        return MedicalResults(self.class_names, self.kind, studies, np.full(number, DEFAULT_THRESHOLD))

    def _gather(self) -> Evaluated:
        """Return the studies of all processes, each once and in one order whatever the number of processes."""
        number = len(self.class_names)
        nothing = np.zeros(0, dtype=np.int64)
        unnamed, labels = nothing.astype(str), np.zeros((0, number)) if self.kind == "findings" else nothing
        parts = [Evaluated(nothing, unnamed, unnamed, labels, np.zeros((0, number))), *all_gather(self._batches)]
        whole = Evaluated(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
        _, first = np.unique(whole.indices, return_index=True)  # sorted by index
        return Evaluated(*(column[first] for column in whole))

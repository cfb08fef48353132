"""Refuses outputs of a network in evaluation that are not finite."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vertebra.tasks.training.divergence.finite import listed


class NonFiniteOutput(ValueError):
    """Outputs of a network in evaluation that are NaN or infinite, and thus neither scored nor written.

    Args:
        rows: places of the samples in their batch.
        names: of all samples of the batch; without them the places are named.

    Attributes:
        rows: as given.
    """

    def __init__(self, rows: Sequence[int], names: Sequence[str] | None = None) -> None:
        self.rows = list(rows)
        samples = [f"sample {row} of the batch" if names is None else names[row] for row in rows]
        super().__init__(
            f"{listed(samples)}: the output of the network is not finite; expected are numbers, since a score of "
            "anything else would mean nothing. The weights are finite but overflow on this input: use a checkpoint "
            "from before the training diverged, train with a lower learning rate, or compute with "
            "--trainer.precision 32-true."
        )


def refuse_nonfinite(outputs: Tensor, names: Sequence[str] | None = None) -> None:
    """Raise where outputs (N, ...) of a network are not finite.

    Args:
        outputs: one row a sample.
        names: of the samples.

    Raises:
        NonFiniteOutput: a row holds a NaN or an infinity.
    """
    if not outputs.numel():
        return
    peaks = torch.linalg.vector_norm(outputs.detach().flatten(1), float("inf"), dim=1)
    if rows := (~peaks.isfinite()).nonzero().flatten().tolist():
        raise NonFiniteOutput(rows, names)

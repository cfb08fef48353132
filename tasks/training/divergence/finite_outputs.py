"""Finiteness check of network outputs in evaluation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vertebra.tasks.training.divergence.finite import join_names


class NonFiniteOutput(ValueError):
    """Network outputs in evaluation contain NaN or infinity, and are neither scored nor written.

    Args:
        rows: indices of the affected samples in the batch.
        names: names of all samples of the batch; None to use indices in the message.

    Attributes:
        rows: indices of the affected samples.
    """

    def __init__(self, rows: Sequence[int], names: Sequence[str] | None = None) -> None:
        self.rows = list(rows)
        samples = [f"sample {row} of the batch" if names is None else names[row] for row in rows]
        super().__init__(
            f"{join_names(samples)}: the output of the network is not finite; expected finite numbers, without which "
            "no score is defined. The weights are finite, but activations overflow on this input: use a checkpoint "
            "from before the training diverged, train with a lower learning rate, or evaluate with "
            "--trainer.precision 32-true."
        )


def refuse_nonfinite(outputs: Tensor, names: Sequence[str] | None = None) -> None:
    """Raise if outputs of a network are not finite.

    Args:
        outputs: (N, ...), a row per sample.
        names: names of the N samples.

    Raises:
        NonFiniteOutput: a row contains NaN or infinity.
    """
    if outputs.numel() and not torch.compiler.is_exporting():  # a graph has no exceptions
        refuse_peaks(_peaks(outputs), names)


def refuse_peaks(peaks: Tensor, names: Sequence[str] | None = None) -> None:
    """Raise as `refuse_nonfinite`, given the largest magnitude of each row, (N,)."""
    if rows := (~peaks.isfinite()).nonzero().flatten().tolist():
        raise NonFiniteOutput(rows, names)


class OutputChecks:
    """Finiteness checks of the outputs of a network, one after the other, or all at the end.

    Args:
        deferred: only the peaks of the outputs are computed, without waiting for the device; the caller then
            calls `refuse_peaks`.
        allow_sync: whether the computation of the outputs may wait for the device in between.
    """

    def __init__(self, deferred: bool = False, allow_sync: bool = True) -> None:
        self.deferred = deferred
        self.allow_sync = allow_sync
        self._collected: list[Tensor] = []

    def __call__(self, outputs: Tensor) -> None:
        """Check outputs (N, ...) now or later, see `refuse_nonfinite`."""
        if not self.deferred:
            refuse_nonfinite(outputs)
        elif outputs.numel():
            self._collected.append(_peaks(outputs))

    def peaks(self) -> Tensor | None:
        """Return the peak of each row over all deferred outputs, (N,), not finite where one is not; None if none is."""
        return torch.stack(self._collected).amax(dim=0) if self._collected else None


def _peaks(outputs: Tensor) -> Tensor:
    # a maximum per row allocates less than `isfinite` on all values
    return torch.linalg.vector_norm(outputs.detach().flatten(1), float("inf"), dim=1)

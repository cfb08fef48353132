"""Inputs of a network, recorded without running it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn


class _Recorded(Exception):
    """Ends a prediction once the input of the network is known."""


class _InputRecorder(nn.Module):
    def __init__(self, takes_studies: bool) -> None:
        super().__init__()
        self.takes_studies = takes_studies
        self.inputs: list[Any] = []

    def forward(self, inputs: Any, counts: list[int] | None = None) -> Any:
        if self.takes_studies and counts is not None:  # a file takes studies without padding
            self.inputs = [one[None, :count] for one, count in zip(inputs, counts, strict=True)]
        else:
            self.inputs = [inputs]
        raise _Recorded


@torch.inference_mode()
def recorded_inputs(module: Any, batches: Iterable[Any], takes_studies: bool) -> Iterator[tuple[Tensor, ...]]:
    """Yield what a network is given for batches, as all inputs of its file.

    Args:
        module: of `vertebra.tools.exporting.comparison.prepared`.
        batches: of the task's data.
        takes_studies: see `vertebra.tools.exporting.comparison.Recorder`.
    """
    for index, batch in enumerate(batches):
        module.network = recorder = _InputRecorder(takes_studies)
        with suppress(_Recorded):
            module.predict_step(batch, index)
        for one in recorder.inputs:
            yield tuple(one) if isinstance(one, tuple) else (one,)

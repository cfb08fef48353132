"""Exponential moving average of the weights, for runs of any length."""

from __future__ import annotations

import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor


class EMA(WeightAveraging):
    """Exponential moving average of weights and norm statistics, which is evaluated and saved in place of them.

    The decay of step n is min(decay, (1 + n) / (10 + n)), as in TensorFlow's moving averages: without this warmup the
    average of a short run, such as one on a few hundred images, would still be near the initial weights. Averaging as
    in Mean teachers are better role models, Tarvainen and Valpola 2017, https://arxiv.org/abs/1703.01780.

    Args:
        decay: of a long run, in 0..1; 0.999 averages over about 1000 steps.

    Raises:
        ValueError: the decay is outside of 0..1.
    """

    def __init__(self, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay is {decay}; expected a value from 0 (no average) to below 1, such as 0.999.")
        self.decay = decay
        super().__init__(avg_fn=self._average)

    def _average(self, average: Tensor, current: Tensor, updates: Tensor | int) -> Tensor:
        if not average.is_floating_point():
            return current  # counts of batches
        # on the device of `updates`, so that no step waits for it
        steps = torch.as_tensor(updates, dtype=torch.float32)
        weight = 1 - torch.clamp((1 + steps) / (10 + steps), max=self.decay)
        return torch.lerp(average, current, weight.to(average.dtype))

"""Learning rate schedules as pure functions of training progress."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence


class Schedule(ABC):
    """Base class of learning rate schedules: linear warm-up from 0 to 1, then the factor `shape`.

    Args:
        warmup: fraction of the training, from 0 to below 1.
    """

    def __init__(self, warmup: float) -> None:
        if not 0 <= warmup < 1:
            raise ValueError(
                f"warmup is {warmup}; expected a fraction of the training from 0 to below 1, not a number of steps."
            )
        self.warmup = warmup

    def __call__(self, progress: float) -> float:
        """Return the learning rate factor at `progress`, from 0 at the start of training to 1 at its end."""
        if progress < self.warmup:
            return progress / self.warmup
        return self.shape((progress - self.warmup) / (1 - self.warmup))

    @abstractmethod
    def shape(self, progress: float) -> float:
        """Return the factor after the warm-up, for `progress` from 0 at its end to 1 at the end of training."""


class Cosine(Schedule):
    """Cosine annealing from 1 to `end`.

    SGDR, Loshchilov and Hutter 2016, https://arxiv.org/abs/1608.03983, without restarts.

    Args:
        warmup: fraction of the training, from 0 to below 1.
        end: final factor.
    """

    def __init__(self, warmup: float = 0.05, end: float = 0.0) -> None:
        super().__init__(warmup)
        self.end = end

    def shape(self, progress: float) -> float:
        # rounding may take the progress beyond 1, where a cosine rises again
        return self.end + (1 - self.end) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


class MultiStep(Schedule):
    """Step decay: multiplied by `gamma` at each milestone.

    Args:
        warmup: fraction of the training, from 0 to below 1.
        milestones: fractions of the training; by default those of the 1x COCO schedule (epochs 8 and 11 of 12).
        gamma: decay factor.
    """

    def __init__(
        self, warmup: float = 0.02, milestones: Sequence[float] = (8 / 12, 11 / 12), gamma: float = 0.1
    ) -> None:
        super().__init__(warmup)
        # given as fractions of the whole training, but `shape` counts from the end of the warm-up
        self.milestones = [(milestone - warmup) / (1 - warmup) for milestone in milestones]
        self.gamma = gamma

    def shape(self, progress: float) -> float:
        return self.gamma ** sum(progress >= milestone for milestone in self.milestones)


class Poly(Schedule):
    """Polynomial decay ("poly"): the remaining fraction of the training to a power.

    ParseNet, Liu et al. 2015, https://arxiv.org/abs/1506.04579; power 0.9 is that of DeepLab, Chen et al. 2016,
    https://arxiv.org/abs/1606.00915.

    Args:
        warmup: fraction of the training, from 0 to below 1.
        power: exponent above 0; 1 is linear decay.
    """

    def __init__(self, warmup: float = 0.0, power: float = 0.9) -> None:
        super().__init__(warmup)
        if power <= 0:
            raise ValueError(f"power is {power}; expected a number above 0, such as DeepLab's 0.9.")
        self.power = power

    def shape(self, progress: float) -> float:
        return max(0.0, 1 - progress) ** self.power  # rounding may exceed 1, and a power of it would be complex

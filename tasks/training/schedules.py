"""Learning-rate schedules, as pure functions of training progress."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence


class Schedule(ABC):
    """A factor on the learning rate that rises linearly from 0 over a warm-up and then follows `shape`.

    Args:
        warmup: fraction of the training, from 0 to below 1, in which the factor rises.
    """

    def __init__(self, warmup: float) -> None:
        if not 0 <= warmup < 1:
            raise ValueError(f"warmup is {warmup}; it is a fraction of the training, from 0 to below 1.")
        self.warmup = warmup

    def __call__(self, progress: float) -> float:
        """Return the factor at `progress`, 0 at the start of the training and 1 at its end."""
        if progress < self.warmup:
            return progress / self.warmup
        return self.shape((progress - self.warmup) / (1 - self.warmup))

    @abstractmethod
    def shape(self, progress: float) -> float:
        """Return the factor after the warm-up, `progress` 0 at its end and 1 at the end of the training."""


class Cosine(Schedule):
    """Half a cosine from 1 down to `end`.

    SGDR, Loshchilov and Hutter 2016, https://arxiv.org/abs/1608.03983, without restarts.

    Args:
        warmup: fraction of the training in which the factor rises.
        end: the last factor.
    """

    def __init__(self, warmup: float = 0.05, end: float = 0.0) -> None:
        super().__init__(warmup)
        self.end = end

    def shape(self, progress: float) -> float:
        return self.end + (1 - self.end) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


class MultiStep(Schedule):
    """Constant, and `gamma` times as large after each milestone.

    Args:
        warmup: fraction of the training in which the factor rises.
        milestones: fractions of the training; the defaults are those of a COCO schedule (8 and 11 of 12 epochs).
        gamma: the factor at each.
    """

    def __init__(
        self, warmup: float = 0.02, milestones: Sequence[float] = (8 / 12, 11 / 12), gamma: float = 0.1
    ) -> None:
        super().__init__(warmup)
        self.milestones = [(milestone - warmup) / (1 - warmup) for milestone in milestones]
        self.gamma = gamma

    def shape(self, progress: float) -> float:
        return self.gamma ** sum(progress >= milestone for milestone in self.milestones)


class Poly(Schedule):
    """A power of the remaining fraction of the training.

    ParseNet, Liu et al. 2015, https://arxiv.org/abs/1506.04579; with power 0.9 it is DeepLab's (Chen et al. 2016,
    https://arxiv.org/abs/1606.00915).

    Args:
        warmup: fraction of the training in which the factor rises.
        power: 1 is a straight line to 0.
    """

    def __init__(self, warmup: float = 0.0, power: float = 0.9) -> None:
        super().__init__(warmup)
        if power <= 0:
            raise ValueError(f"power is {power}; give one above 0, such as DeepLab's 0.9, so that the rate falls.")
        self.power = power

    def shape(self, progress: float) -> float:
        return max(0.0, 1 - progress) ** self.power

"""Position and velocity of a momentum network in fixed point, so that every step is undone bit by bit.

Momentum Residual Neural Networks, Sander et al. 2021, https://arxiv.org/abs/2102.07870, section 3; the arithmetic is
that of Gradient-based Hyperparameter Optimization through Reversible Learning, Maclaurin et al. 2015,
https://arxiv.org/abs/1502.03492, section 2.2.

A step is v <- gamma v + c and x <- x + v. In floating point neither is invertible: sums round, and a product with
gamma below 1 loses log2(1 / gamma) bits. Here both are integers, whose sums are exact. gamma is a fraction n / d, and
what the division by d loses, and the multiplication by n leaves free, goes into a third integer, the remainder.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import torch
from torch import Tensor

SCALE = 2.0**34  # resolution of 6e-11; a float32 is coarser from 0.001 on
LIMIT = 2.0**20  # of |x| and |c|: 500 steps of that size stay within 64 bits
_CAPACITY = 2**63 - 1  # of a remainder
_INTEGERS = ((torch.int8, 2**7), (torch.int16, 2**15), (torch.int32, 2**31), (torch.int64, 2**63))


def to_fixed(x: Tensor) -> Tensor:
    """Round to fixed point; |x| is at most `LIMIT`, and what is not is undefined."""
    return (x * SCALE).round().to(torch.int64)


class FixedPointState:
    """Position x and velocity v as integers, with remainders of the divisions.

    Args:
        gamma: factor of the velocity in each step, above 0 and at most 1.
        position: int64, x in units of 1 / `SCALE`.
        velocity: int64, v in the same units; 0 if not given.
        remainders: int64 each; the last one is in use, the earlier ones are full. One lasts for hundreds of steps.
        num_steps: steps made so far.
    """

    def __init__(
        self,
        gamma: Fraction,
        position: Tensor,
        velocity: Tensor | None = None,
        remainders: Sequence[Tensor] = (),
        num_steps: int = 0,
    ) -> None:
        self.gamma = gamma
        self.position = position
        self.velocity = torch.zeros_like(position) if velocity is None else velocity
        self.remainders = [x.to(torch.int64) for x in remainders] or [torch.zeros_like(position)]
        # largest value that each remainder can have, after each step since it was begun
        self._bounds: list[list[int]] = [[0]]
        for _ in range(num_steps):
            self._grow()

    def read(self, dtype: torch.dtype) -> Tensor:
        """Return the position in floating point; float16 and bfloat16 are rounded from float32."""
        wide = torch.promote_types(dtype, torch.float32)
        return (self.position.to(wide) / SCALE).to(dtype)

    def step(self, force: Tensor) -> None:
        """Advance by v <- gamma v + c, x <- x + v, where c is `to_fixed(force)`."""
        self._multiply()
        self.velocity = self.velocity + to_fixed(force)
        self.position = self.position + self.velocity

    def undo_position(self) -> None:
        """Undo the second half of a step: x is what it was, from which the force can be computed again."""
        self.position = self.position - self.velocity

    def undo_velocity(self, force: Tensor) -> None:
        """Undo the first half of a step of this force."""
        self.velocity = self.velocity - to_fixed(force)
        self._divide()

    def packed(self) -> list[Tensor]:
        """Return position, velocity and remainders, these in the smallest type that can hold them."""
        kinds = [next(kind for kind, capacity in _INTEGERS if bounds[-1] < capacity) for bounds in self._bounds]
        return [self.position, self.velocity, *(x.to(kind) for x, kind in zip(self.remainders, kinds, strict=True))]

    def _multiply(self) -> None:
        n, d = self.gamma.numerator, self.gamma.denominator
        if n == d:
            return
        if self._grow():
            self.remainders.append(torch.zeros_like(self.velocity))
        store = self.remainders[-1] * d + self.velocity % d  # `%` and `//` round down, also for negative numbers
        self.velocity = self.velocity // d * n + store % n
        self.remainders[-1] = store // n

    def _divide(self) -> None:
        n, d = self.gamma.numerator, self.gamma.denominator
        if n == d:
            return
        store = self.remainders[-1] * n + self.velocity % n
        self.velocity = self.velocity // n * d + store % d
        self.remainders[-1] = store // d
        self._bounds[-1].pop()
        if len(self._bounds[-1]) == 1 and len(self._bounds) > 1:
            self._bounds.pop()
            self.remainders.pop()

    def _grow(self) -> bool:
        """Bound the remainder after another step, and return whether a new one is begun for it."""
        n, d = self.gamma.numerator, self.gamma.denominator
        is_full = self._bounds[-1][-1] * d + d - 1 > _CAPACITY
        if is_full:
            self._bounds.append([0])
        self._bounds[-1].append((self._bounds[-1][-1] * d + d - 1) // n)
        return is_full

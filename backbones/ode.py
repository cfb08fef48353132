"""ODE stages: one residual block as the right-hand side of a differential equation.

Neural Ordinary Differential Equations, Chen et al. 2018, https://arxiv.org/abs/1806.07366
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

FIXED_STEP = ("euler", "midpoint", "heun2", "heun3", "rk4", "explicit_adams", "implicit_adams")


@dataclass(frozen=True)
class Solver:
    """Solver of a differential equation, and how its gradient is computed.

    Args:
        method: `euler`, which needs no other package, or a method of torchdiffeq, such as `dopri5`, which chooses its
            steps by the tolerances, or `rk4`.
        steps: steps in a unit of time, which is that of one residual block, for methods of fixed steps.
        rtol: relative tolerance, for methods that choose their steps.
        atol: absolute tolerance, for methods that choose their steps.
        adjoint: gradient of the differential equation, solved backward in time, with memory that does not grow with the
            steps; otherwise the exact gradient of the discrete steps, by plain autograd.

    Raises:
        ValueError: a number out of its range, or torchdiffeq is needed and not installed.
    """

    method: str = "euler"
    steps: int = 1
    rtol: float = 1e-3
    atol: float = 1e-4
    adjoint: bool = False

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps is {self.steps}; a unit of time takes at least 1.")
        if min(self.rtol, self.atol) <= 0:
            raise ValueError(f"rtol is {self.rtol} and atol {self.atol}; tolerances are above 0.")
        if not self.is_own and find_spec("torchdiffeq") is None:
            raise ValueError(
                f"method {self.method!r} with adjoint={self.adjoint} needs torchdiffeq, which is not installed; take "
                "euler without the adjoint, or pip install 'vertebra[ode]'."
            )

    @property
    def is_own(self) -> bool:
        """Whether it runs without torchdiffeq."""
        return self.method == "euler" and not self.adjoint


EULER = Solver()  # one step a block, as a ResNet


class ODEStage(nn.Sequential):
    """Stage whose residual blocks are one: dx/dt = f(x) from t = 0 to the number of blocks that it replaces.

    f(x) = block(x) - x. The first block, which changes the shape, is an ordinary one. With Euler's method and one step
    for a unit of time the stage is the residual stage whose other blocks share their weights, bit by bit.

    Args:
        blocks: residual blocks; the first two are kept, and their number is the time plus 1.
        solver: of the equation.

    Attributes:
        num_evaluations: of f in the last forward pass.

    Shape:
        as of the blocks
    """

    def __init__(self, *blocks: nn.Module, solver: Solver = EULER) -> None:
        super().__init__(*blocks[:2])
        self.time = len(blocks) - 1
        self.solver = solver
        self.num_evaluations = 0

    def forward(self, x: Tensor) -> Tensor:
        first, *dynamics = self
        x = first(x)
        if not dynamics:
            return x
        self.num_evaluations = 0
        # the state is kept in float32: a solver adds small steps, and compares them with small tolerances
        state = x.to(torch.promote_types(x.dtype, torch.float32))
        state = self._euler(state) if self.solver.is_own else self._torchdiffeq(state)
        return state.to(x.dtype)

    def _euler(self, x: Tensor) -> Tensor:
        step = 1 / self.solver.steps
        for _ in range(self.time * self.solver.steps):
            x = x.lerp(self._block(x), step)  # x + step * (block(x) - x), and block(x) itself for a step of 1
        return x

    def _torchdiffeq(self, x: Tensor) -> Tensor:
        from torchdiffeq import odeint, odeint_adjoint

        solver = self.solver
        options: dict[str, Any] = {"method": solver.method, "rtol": solver.rtol, "atol": solver.atol}
        if solver.method in FIXED_STEP:
            options["options"] = {"step_size": 1 / solver.steps}
        if solver.adjoint:
            options["adjoint_params"] = tuple(p for p in self[1].parameters() if p.requires_grad)
        times = torch.tensor([0.0, self.time], dtype=x.dtype, device=x.device)
        return (odeint_adjoint if solver.adjoint else odeint)(self._rate, x, times, **options)[-1]

    def _rate(self, time: Tensor, x: Tensor) -> Tensor:
        return self._block(x) - x

    def _block(self, x: Tensor) -> Tensor:
        self.num_evaluations += 1
        return self[1](x).to(x.dtype)

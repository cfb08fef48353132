"""Momentum stages: residual blocks with a velocity, whose activations are computed again in the backward pass.

Momentum Residual Neural Networks, Sander et al. 2021, https://arxiv.org/abs/2102.07870
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from vertebra.backbones.checkpointing import frozen_running_stats
from vertebra.backbones.fixed_point import LIMIT, FixedPointState, to_fixed

GAMMA = 0.9  # of the paper


class MomentumStage(nn.Sequential):
    """Stage of residual blocks with momentum: v <- gamma v + (1 - gamma) f(x), x <- x + v, where f(x) = block(x) - x.

    The first block, which changes the shape, is an ordinary one, and v starts at 0 behind it, as in the paper's
    ResNets. Weights are those of a stage of residual blocks, which gamma = 0 makes of it.

    In training only the last x and v are stored, whatever the depth, and the blocks run a second time in the backward
    pass. x and v are in fixed point there (see `fixed_point`), so that the x of every block is recovered bit by bit,
    where the paper recovers it up to rounding. Values beyond 10^6 are not representable and become NaN, as in a
    diverged network. Without gradients and in evaluation mode x and v are in floating point.

    Args:
        blocks: residual blocks; all but the first keep the shape. Their stochastic depth drops f as a whole.
        gamma: a fraction from 0 to below 1, with a denominator of at most 1000; 0 only where `invertible` is off.
        invertible: compute activations again; otherwise they are stored as usual.

    Shape:
        as of the blocks

    Raises:
        ValueError: `gamma` is out of its range.
    """

    def __init__(self, *blocks: nn.Module, gamma: float = GAMMA, invertible: bool = True) -> None:
        super().__init__(*blocks)
        self.gamma = Fraction(gamma).limit_denominator(1000)
        self.invertible = invertible
        if not 0 <= gamma < 1 or abs(self.gamma - Fraction(gamma)) > 1e-9:
            raise ValueError(
                f"gamma is {gamma}; expected a fraction from 0 to below 1 with a denominator of at most 1000."
            )
        if invertible and not self.gamma:
            raise ValueError(
                "gamma is 0, with which a step cannot be undone; give invertible=False, or a larger gamma."
            )
        self.drop_rates = [_take_drop_rate(block) for block in blocks[1:]]

    def forward(self, x: Tensor) -> Tensor:
        first, *blocks = self
        x = first(x)
        if not blocks:
            return x
        masks = [_mask(rate, x) if self.training else None for rate in self.drop_rates]
        gradients = torch.is_grad_enabled() and (x.requires_grad or any(p.requires_grad for p in self.parameters()))
        if self.invertible and self.training and gradients:
            return _run_reversibly(x, blocks, masks, self.gamma)
        gamma, dtype = float(self.gamma), x.dtype
        wide = torch.promote_types(dtype, torch.float32)
        position = x.to(wide)
        velocity = torch.zeros_like(position)
        for block, mask in zip(blocks, masks, strict=True):
            velocity = gamma * velocity + (1 - gamma) * _residual(block, position.to(dtype), mask)
            position = position + velocity
        return position.to(dtype)


def _take_drop_rate(block: nn.Module) -> float:
    """Return the rate of a block's stochastic depth, and remove it: a second run would draw other numbers."""
    drop_path = getattr(block, "drop_path", None)
    if drop_path is None:
        return 0.0
    block.drop_path = None  # type: ignore[assignment]
    return float(drop_path.p)


def _mask(rate: float, x: Tensor) -> Tensor | None:
    """Draw the factor of f for each sample, 0 or 1 / (1 - rate)."""
    if not rate:
        return None
    shape = (len(x), *(1,) * (x.dim() - 1))
    return torch.empty(shape, device=x.device, dtype=torch.float32).bernoulli_(1 - rate) / (1 - rate)


def _residual(block: nn.Module, x: Tensor, mask: Tensor | None) -> Tensor:
    """Return f(x) = block(x) - x in float32, or in float64 for such an input."""
    wide = torch.promote_types(x.dtype, torch.float32)
    residual = block(x).to(wide) - x.to(wide)
    return residual if mask is None else residual * mask


@torch.compiler.disable
def _run_reversibly(x: Tensor, blocks: Sequence[nn.Module], masks: Sequence[Tensor | None], gamma: Fraction) -> Tensor:
    trained = [[parameter for parameter in block.parameters() if parameter.requires_grad] for block in blocks]
    return _Momentum.apply(
        x, blocks, masks, gamma, trained, *(parameter for of_block in trained for parameter in of_block)
    )


class _Momentum(torch.autograd.Function):
    """All steps of a stage; the parameters are inputs, so that they get their gradients."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        blocks: Sequence[nn.Module],
        masks: Sequence[Tensor | None],
        gamma: Fraction,
        trained: Sequence[Sequence[nn.Parameter]],
        *parameters: Tensor,
    ) -> Tensor:
        state = FixedPointState(gamma, to_fixed(x.detach()))
        largest = x.detach().abs().amax()
        for block, mask in zip(blocks, masks, strict=True):
            residual = _residual(block, state.read(x.dtype), mask)
            state.step(float(1 - gamma) * residual)
            largest = torch.maximum(largest.to(residual.dtype), residual.abs().amax())
        ctx.blocks, ctx.masks, ctx.trained, ctx.gamma, ctx.dtype = blocks, masks, trained, gamma, x.dtype
        # the meta device, on which operations are counted, has no autocast
        device = x.device.type if torch.amp.is_autocast_available(x.device.type) else "cpu"
        ctx.autocast = (device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device))
        ctx.save_for_backward(*state.packed())
        # integers have no infinity: a comparison with NaN is false, and so is one with what does not fit
        return torch.where(largest < LIMIT, state.read(x.dtype), torch.nan)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        position, velocity, *remainders = ctx.saved_tensors
        state = FixedPointState(ctx.gamma, position, velocity, remainders, num_steps=len(ctx.blocks))
        device, autocast_dtype, enabled = ctx.autocast
        gamma = float(ctx.gamma)
        of_position = gradient.to(torch.promote_types(ctx.dtype, torch.float32))
        of_velocity = torch.zeros_like(of_position)
        of_parameters: list[Tensor | None] = []
        for block, mask, trained in reversed(list(zip(ctx.blocks, ctx.masks, ctx.trained, strict=True))):
            state.undo_position()
            x = state.read(ctx.dtype).requires_grad_()
            with (
                torch.enable_grad(),
                torch.autocast(device, autocast_dtype, enabled=enabled),
                frozen_running_stats(block),
            ):
                residual = _residual(block, x, mask)
            state.undo_velocity((1 - gamma) * residual.detach())
            of_velocity = of_velocity + of_position  # x follows v
            of_x, *others = torch.autograd.grad(residual, (x, *trained), (1 - gamma) * of_velocity, allow_unused=True)
            of_position = of_position + of_x
            of_velocity = gamma * of_velocity
            of_parameters = [*others, *of_parameters]
        return of_position.to(ctx.dtype), None, None, None, None, *of_parameters

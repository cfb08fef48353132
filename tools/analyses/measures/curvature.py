"""Curvature of a loss: of its surface on a grid, and the extreme eigenvalues of its Hessian."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel


class Plane(NamedTuple):
    """Losses on a square grid.

    Attributes:
        a: (A,) coordinates along the first direction.
        b: (B,) coordinates along the second direction.
        losses: (A, B), NaN where not finite.
    """

    a: np.ndarray
    b: np.ndarray
    losses: np.ndarray


class Eigenvalues(NamedTuple):
    """Extreme eigenvalues of the Hessian at a point of the plane."""

    a: float
    b: float
    smallest: float
    largest: float


def grid_curvature(losses: np.ndarray, step: float) -> np.ndarray:
    """Return the principal curvatures of a surface, by central differences.

    Args:
        losses: (A, B) on a square grid.
        step: distance between two neighbors on the grid.

    Returns:
        (A - 2, B - 2, 2) eigenvalues of the 2x2 Hessian at the inner points, the smaller first; NaN beside a NaN.
    """
    inner = losses[1:-1, 1:-1]
    second_a = (losses[2:, 1:-1] - 2 * inner + losses[:-2, 1:-1]) / step**2
    second_b = (losses[1:-1, 2:] - 2 * inner + losses[1:-1, :-2]) / step**2
    mixed = (losses[2:, 2:] - losses[2:, :-2] - losses[:-2, 2:] + losses[:-2, :-2]) / (4 * step**2)
    middle, radius = (second_a + second_b) / 2, np.hypot((second_a - second_b) / 2, mixed)
    return np.stack([middle - radius, middle + radius], axis=-1)


def negative_shares(curvatures: np.ndarray) -> np.ndarray:
    """Return for each point the negative share of its absolute curvature: 0 is convex, 1 concave, 1/2 a saddle.

    Args:
        curvatures: (..., 2) as `grid_curvature` returns them; flat points are convex.
    """
    negative, total = np.maximum(-curvatures, 0).sum(axis=-1), np.abs(curvatures).sum(axis=-1)
    shares: np.ndarray = np.divide(negative, total, out=np.zeros_like(total), where=total > 0)
    return np.where(np.isnan(total), np.nan, shares)


@sdpa_kernel(SDPBackend.MATH)  # fused attention has no second derivative
def hessian_extremes(
    parameters: Sequence[Tensor], loss: Callable[[], Tensor], iterations: int, seed: int
) -> tuple[float, float]:
    """Return the smallest and the largest eigenvalue of the Hessian of a loss, by Lanczos' iteration.

    Products with the Hessian are exact, by a second backward pass. After few iterations the eigenvalues are those of
    a subspace: the smallest is not below the true one and the largest not above it.

    Args:
        parameters: of the loss.
        loss: computes it.
        iterations: products with the Hessian; as many as there are parameters give all eigenvalues.
        seed: of the first vector.
    """
    with torch.enable_grad():
        gradients = torch.autograd.grad(loss(), parameters, create_graph=True, allow_unused=True)
    pairs = [(p, g) for p, g in zip(parameters, gradients, strict=True) if g is not None and g.requires_grad]
    if not pairs:  # linear in all parameters
        return 0.0, 0.0
    used, flat = [p for p, _ in pairs], torch.cat([g.flatten() for _, g in pairs])
    generator = torch.Generator().manual_seed(seed)
    vector = torch.randn(flat.numel(), generator=generator, dtype=torch.float64).to(flat)
    vector /= vector.norm()
    before, diagonal, off = torch.zeros_like(vector), [], [0.0]
    for _ in range(min(iterations, flat.numel())):
        product = torch.autograd.grad(flat, used, vector, retain_graph=True, allow_unused=True)
        # three vectors at a time and no more: the extreme eigenvalues need no orthogonalization against all
        rest = torch.cat(
            [(torch.zeros_like(p) if h is None else h).flatten() for p, h in zip(used, product, strict=True)]
        )
        diagonal.append(float(rest @ vector))
        rest = rest - diagonal[-1] * vector - off[-1] * before
        length = float(rest.norm())
        if not np.isfinite(length):
            return np.nan, np.nan
        if length < 1e-6 * max(1e-12, abs(max(diagonal, key=abs))):
            break
        off.append(length)
        before, vector = vector, rest / length
    inner = off[1 : len(diagonal)]
    values = np.linalg.eigvalsh(np.diag(diagonal) + np.diag(inner, 1) + np.diag(inner, -1))
    return float(values[0]), float(values[-1])


def nonconvexity(smallest: float, largest: float) -> float:
    """Return |smallest| / |largest| eigenvalue where the smallest is negative, else 0; the paper's ratio."""
    if not np.isfinite(smallest + largest):
        return np.nan
    return -smallest / max(abs(largest), 1e-30) if smallest < 0 else 0.0

"""Largest singular values and vectors of a Jacobian by block power iteration, without the matrix itself."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import jvp, vjp
from torch.nn.attention import SDPBackend, sdpa_kernel


class Singular(NamedTuple):
    """Largest k singular triplets of the Jacobian J at each of N points: J v = s u.

    Attributes:
        left: (N, m, k) orthonormal vectors of the output space.
        values: (N, k), in descending order.
        right: (N, n, k) orthonormal vectors of the input space.
    """

    left: Tensor
    values: Tensor
    right: Tensor


@sdpa_kernel(SDPBackend.MATH)  # fused attention has no forward-mode differentiation
def top_singular(
    function: Callable[[Tensor], Tensor],
    points: Tensor,
    k: int,
    seed: int = 0,
    tolerance: float = 1e-3,
    max_iterations: int = 60,
) -> Singular:
    """Return the largest k singular triplets of the Jacobian of a function at points.

    Subspace iteration (Halko, Martinsson and Tropp 2009, https://arxiv.org/abs/0909.4061, algorithm 4.4) with k / 2 + 4
    columns in excess, which converges with the ratio of the singular values k + k / 2 + 4 and k. J is applied by
    forward-mode, its transpose by reverse-mode differentiation; the columns are the samples of one batch.

    Args:
        function: maps (B, ...) to (B, ...), each sample independently of the others.
        points: (N, ...) points at which the Jacobian is taken.
        k: number of triplets; at most the smaller dimension of the Jacobian.
        seed: of the first vectors.
        tolerance: relative change of the values at which the iteration ends.
        max_iterations: end in any case; the result is then a lower bound of the values.

    Raises:
        ValueError: `k` is less than 1 or more than the Jacobian has.
    """
    count, size = len(points), points[0].numel()
    with torch.no_grad():
        out_size = function(points[:1])[0].numel()
    if not 1 <= k <= min(size, out_size):
        raise ValueError(
            f"k is {k}, but the Jacobian is {out_size} x {size}; choose from 1 to {min(size, out_size)} triplets."
        )
    columns = min(k + k // 2 + 4, size, out_size)
    repeated = points.repeat_interleave(columns, dim=0)  # (N * columns, ...)
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(count, size, columns, generator=generator, dtype=points.dtype).to(points.device)
    right = torch.linalg.qr(start)[0]
    output, pull = vjp(function, repeated)[:2]
    with warnings.catch_warnings():  # of torch itself, where it first loads its rules of forward mode
        warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=FutureWarning)
        jvp(torch.sin, (points[:1],), (points[:1],))

    def apply(vectors: Tensor) -> Tensor:  # J, (N, n, columns) -> (N, m, columns)
        tangents = vectors.mT.reshape(repeated.shape)
        return jvp(function, (repeated,), (tangents,))[1].reshape(count, columns, out_size).mT

    def apply_transpose(vectors: Tensor) -> Tensor:
        return pull(vectors.mT.reshape(output.shape))[0].reshape(count, columns, size).mT

    values = torch.zeros(count, k, dtype=points.dtype, device=points.device)
    for _ in range(max_iterations):
        left = torch.linalg.qr(apply(right))[0]
        right, triangle = torch.linalg.qr(apply_transpose(left))
        # J is about left @ triangle.T @ right.T, whose small core has the singular values of J
        inner_left, all_values, inner_right = torch.linalg.svd(triangle.mT)
        before, values = values, all_values[:, :k]
        if ((values - before).abs() <= tolerance * values[:, :1]).all():
            break
    vectors = (left @ inner_left, right @ inner_right.mT)
    return Singular(vectors[0][..., :k].detach(), values.detach(), vectors[1][..., :k].detach())

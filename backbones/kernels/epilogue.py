"""What follows a convolution in inference, in one pass over its output: bias, sum and ReLU."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 1024  # values of a program: 16 bytes of bfloat16 to each of its threads


def run(x: Tensor, bias: Tensor, summand: Tensor | None, rectified: bool) -> Tensor:
    """Return `relu(x + bias + summand)`, in place of `x`, rounded after each sum as separate operators do.

    Args:
        x: (N, C, ...), dense in a channels-last format, of a floating-point type of at most 32 bits.
        bias: (C,), in the same type.
        summand: as `x`, or None.
        rectified: whether a ReLU follows.
    """
    if total := x.numel():
        with torch.cuda.device_of(x):
            _finish[(triton.cdiv(total, BLOCK),)](
                *(x, bias.contiguous(), x if summand is None else summand, total),
                *(x.shape[1], summand is not None, rectified, BLOCK),
            )
    return x


def check(device: torch.device) -> None:
    """Launch the kernel for one value."""
    run(torch.zeros(1, 1, 1, 1, device=device), torch.zeros(1, device=device), None, True)


@triton.jit
def _finish(
    x, bias, summand, total, CHANNELS: tl.constexpr, SUMMED: tl.constexpr, RECTIFIED: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """Finish the values of one block."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    within = at < total
    value = tl.load(x + at, within)
    kind = value.dtype
    value = (value.to(tl.float32) + tl.load(bias + at % CHANNELS).to(tl.float32)).to(kind)
    if SUMMED:
        value = (value.to(tl.float32) + tl.load(summand + at, within).to(tl.float32)).to(kind)
    if RECTIFIED:
        value = tl.where(value < 0.0, 0.0, value)  # NaN stays
    tl.store(x + at, value, within)

"""Layers in a chain without gradients on a GPU, where what follows a convolution takes one pass over its output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from vertebra.backbones.cpu_convolutions import Conv2d, Conv3d
from vertebra.backbones.kernels.availability import triton_kernel

_KERNEL = "vertebra.backbones.kernels.epilogue"
_FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


class Plus:
    """A sum in a chain of layers: adds a map to the input, in place.

    Args:
        summand: of the shape of the input.
    """

    def __init__(self, summand: Tensor) -> None:
        self.summand = summand

    def __call__(self, x: Tensor) -> Tensor:
        return x.add_(self.summand)


Layer = nn.Module | Plus


def runs_fused(x: Tensor) -> bool:
    """Return whether `run_fused` is worth calling for an input."""
    return not torch.is_grad_enabled() and x.is_cuda and triton_kernel(_KERNEL, x.device) is not None


def run_fused(x: Tensor, layers: Sequence[Layer]) -> Tensor:
    """Run layers in turn; bias, sum and ReLU behind a convolution run together, with the same result.

    PyTorch adds the bias of a convolution on a GPU in a pass over the map of its own, and so it is with the two others.
    In a network with folded norms these passes take half of the time. Layers with hooks run on their own.
    """
    rest = [layer for layer in layers if type(layer) is not nn.Identity or has_hooks(layer)]
    while rest:
        layer = rest.pop(0)
        if type(layer) not in (Conv2d, Conv3d) or has_hooks(layer) or cast(Conv2d, layer).bias is None:
            x = layer(x)
            continue
        summed = bool(rest) and type(rest[0]) is Plus
        plus = cast(Plus, rest.pop(0)) if summed else None
        rectified = bool(rest) and type(rest[0]) is nn.ReLU and not has_hooks(rest[0])
        if rectified:
            rest.pop(0)
        x = _convolve(x, cast(Conv2d, layer), plus, rectified) if plus or rectified else layer(x)
    return x


def _convolve(x: Tensor, convolution: Conv2d | Conv3d, plus: Plus | None, rectified: bool) -> Tensor:
    x = convolution.convolve(x, convolution.weight, None)
    bias = cast(Tensor, convolution.bias).to(x.dtype)  # as autocast does
    summand = None if plus is None else plus.summand
    kernel = triton_kernel(_KERNEL, x.device)
    alike = summand is None or (summand.dtype, summand.shape) == (x.dtype, x.shape)
    if kernel is not None and alike and all(_is_dense(y) for y in (x, summand) if y is not None):
        return kernel(x, bias, summand, rectified)
    x = x.add_(bias.view(-1, *(1,) * (x.dim() - 2)))
    x = x if plus is None else plus(x)
    return x.relu_() if rectified else x


def _is_dense(x: Tensor) -> bool:
    return x.dim() in _FORMATS and x.is_contiguous(memory_format=_FORMATS[x.dim()]) and x.dtype != torch.float64


def has_hooks(layer: Layer) -> bool:
    """Return whether a module has hooks, which see its own input and output."""
    return isinstance(layer, nn.Module) and bool(
        layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks
    )

"""Layers in a chain, where a convolution and a constant norm after it run as one convolution."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TypeGuard

import torch
from torch import Tensor, nn

from vertebra.backbones.cpu_convolutions import Conv2d, Conv3d
from vertebra.backbones.fused_inference import Layer, Plus, has_hooks, run_fused, runs_fused
from vertebra.backbones.layers import FrozenBatchNorm, scale_and_shift

_NORMS = (nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def chain(x: Tensor, *layers: Layer) -> Tensor:
    """Run layers in turn; while gradients are recorded, a constant norm is folded into the convolution before it.

    Frozen batch norms multiply and shift each channel, and so could the convolution: `norm(conv(x, weight))` equals
    `conv(x, scale * weight) + shift`. That spares passes over the map, forward and backward, and nothing is stored for
    the norm; parameters, their gradients and the state dict are those of the two layers. A layer with hooks runs on
    its own, and so does a norm whose map is smaller than the kernel. Without gradients `fold_norms` does the same once
    instead of at every call, and on a GPU the chain is that of `run_fused`.
    """
    if runs_fused(x):
        return run_fused(x, _flat(layers))
    folds = torch.is_grad_enabled()
    pending: Conv2d | Conv3d | None = None
    for layer in _flat(layers):
        if pending is not None:
            if _is_constant(layer) and _pays(pending, x):
                x, pending = _convolve(x, pending, layer), None
                continue
            x, pending = pending(x), None
        if folds and type(layer) in (Conv2d, Conv3d) and not has_hooks(layer):
            pending = layer  # type: ignore[assignment]
        else:
            x = layer(x)
    return x if pending is None else pending(x)


class Chain(nn.Sequential):
    """`nn.Sequential` whose constant norms are folded into the convolutions before them (see `chain`)."""

    def forward(self, x: Tensor) -> Tensor:
        return chain(x, *self)


def _flat(layers: Iterable[Layer]) -> list[Layer]:
    """Return the layers with those of nested chains, since the norm of a chain's last convolution may be outside."""
    flat: list[Layer] = []
    for layer in layers:
        flat += _flat(layer) if isinstance(layer, Chain) and not has_hooks(layer) else [layer]
    return flat


def _convolve(x: Tensor, convolution: Conv2d | Conv3d, norm: nn.Module) -> Tensor:
    scale, shift = scale_and_shift(norm)
    if convolution.bias is not None:
        shift = shift + convolution.bias * scale
    weight = convolution.weight
    scaled = weight * scale.view(-1, *(1,) * (weight.dim() - 1))
    return convolution.convolve(x, scaled.to(weight.dtype), shift.to(weight.dtype))


def _pays(convolution: Conv2d | Conv3d, x: Tensor) -> bool:
    """Return whether the output has more values than the kernel, all of which are scaled, and so is their gradient."""
    pixels = x.shape[0] * math.prod(x.shape[2:]) // math.prod(convolution.stride)
    return pixels > convolution.weight[0].numel()


def _is_constant(norm: Layer) -> TypeGuard[nn.Module]:
    """Return whether a layer is a batch norm with fixed statistics and weights."""
    if isinstance(norm, Plus) or has_hooks(norm):
        return False
    if type(norm) is FrozenBatchNorm:
        return True
    # exact types only: subclasses may do more, as those with an activation
    if type(norm) not in _NORMS or norm.training or norm.running_var is None:
        return False
    return not any(parameter.requires_grad for parameter in norm.parameters())

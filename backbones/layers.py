"""Convolution, norm and pooling layers in two or three dimensions, selected by `dim`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from vertebra.backbones.cpu_convolutions import Conv2d, Conv3d

Norm = Literal["batch", "frozen", "sync", "group"]
Size = int | Sequence[int]
# (dim, in_channels, out_channels, kernel_size, stride=, dilation=, groups=) -> a module, as `conv`
Convolution = Callable[..., nn.Module]

_CONV: dict[int, type[nn.Module]] = {2: Conv2d, 3: Conv3d}
_BATCH_NORM: dict[int, type[nn.Module]] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_AVERAGE_POOL: dict[int, type[nn.Module]] = {2: nn.AvgPool2d, 3: nn.AvgPool3d}
_MAX_POOL: dict[int, type[nn.Module]] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}


def conv(
    dim: int,
    in_channels: int,
    out_channels: int,
    kernel_size: Size,
    stride: Size = 1,
    dilation: Size = 1,
    groups: int = 1,
    bias: bool = False,
) -> nn.Module:
    """Build a convolution with "same" padding at stride 1; kernel sizes are odd."""
    sizes, dilations = per_axis(kernel_size, dim), per_axis(dilation, dim)
    return _CONV[dim](
        in_channels,
        out_channels,
        kernel_size=sizes,
        stride=per_axis(stride, dim),
        padding=tuple(d * (size - 1) // 2 for size, d in zip(sizes, dilations, strict=True)),
        dilation=dilations,
        groups=groups,
        bias=bias,
    )


def per_axis(size: Size, dim: int) -> tuple[int, ...]:
    """Return a size for each of `dim` axes."""
    return (size,) * dim if isinstance(size, int) else tuple(size)


def max_pool(dim: int, kernel_size: Size, stride: Size) -> nn.Module:
    """Build a max pooling with half a kernel of padding."""
    sizes = per_axis(kernel_size, dim)
    return _MAX_POOL[dim](sizes, stride=per_axis(stride, dim), padding=tuple(size // 2 for size in sizes))


def average_pool(dim: int, size: Size) -> nn.Module:
    """Build an average pooling of non-overlapping windows, which may be smaller at the border."""
    return _AVERAGE_POOL[dim](per_axis(size, dim), ceil_mode=True, count_include_pad=False)


def norm_layer(dim: int, channels: int, norm: Norm) -> nn.Module:
    """Build a norm layer by name for maps of `channels` channels.

    Raises:
        ValueError: `norm` is none of the four.
    """
    if norm == "batch":
        return _BATCH_NORM[dim](channels)
    if norm == "frozen":
        return FrozenBatchNorm(channels)
    if norm == "sync":
        return nn.SyncBatchNorm(channels)
    if norm == "group":
        return nn.GroupNorm(_groups(channels), channels)
    raise ValueError(f"norm is {norm!r}; choose batch, frozen, sync or group.")


def _groups(channels: int) -> int:
    """Return 32 groups as in the paper, or fewer where 32 does not divide the channels into groups of two or more.

    Group Normalization, Wu and He 2018, https://arxiv.org/abs/1803.08494.
    """
    # a group of one channel on a 1x1 map, as of a coarse pyramid level, is a single value, which would normalize to 0
    return next((groups for groups in (32, 16, 8, 4, 2) if channels % groups == 0 and channels > groups), 1)


class FrozenBatchNorm(nn.Module):
    """Batch norm with constant statistics and weights, for fine-tuning with small batches.

    It loads the state dict of an ordinary batch norm.

    Args:
        channels: number of channels of the maps.
        eps: added to the variance.

    Shape:
        (N, C, ...) -> (N, C, ...)
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        state_dict.pop(f"{prefix}num_batches_tracked", None)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def forward(self, x: Tensor) -> Tensor:
        scale, shift = scale_and_shift(self)
        shape = (1, -1) + (1,) * (x.dim() - 2)
        return x * scale.view(shape).to(x.dtype) + shift.view(shape).to(x.dtype)


def scale_and_shift(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Return the factor and the summand of each channel, (C,) both, by which a batch norm in evaluation mode acts."""
    layer = cast(nn.BatchNorm2d, norm)
    mean, variance = cast(Tensor, layer.running_mean), cast(Tensor, layer.running_var)
    scale = (variance + layer.eps).rsqrt()
    if layer.weight is None:  # without learned factors
        return scale, -mean * scale
    scale = layer.weight * scale
    return scale, layer.bias - mean * scale

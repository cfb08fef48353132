"""Building blocks of decoders: convolution with norm and ReLU, norm after global pooling, bilinear resizing."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from vertebra.backbones.layers import Norm, conv, norm_layer
from vertebra.tasks.segmentation.dilated import DilatedConv2d


def conv_norm(
    in_channels: int, channels: int, kernel_size: int = 3, dilation: int = 1, norm: Norm = "batch"
) -> nn.Sequential:
    """Build a size-preserving convolution, norm and ReLU: (N, in_channels, H, W) -> (N, channels, H, W)."""
    return nn.Sequential(
        conv(2, in_channels, channels, kernel_size)
        if dilation == 1
        else DilatedConv2d(in_channels, channels, kernel_size, dilation),
        norm_layer(2, channels, norm),
        nn.ReLU(inplace=True),
    )


def separable_conv_norm(
    in_channels: int, channels: int, kernel_size: int = 3, dilation: int = 1, norm: Norm = "batch"
) -> nn.Sequential:
    """Build a depthwise separable convolution, norm and ReLU: (N, in_channels, H, W) -> (N, channels, H, W).

    Encoder-Decoder with Atrous Separable Convolution, Chen et al. 2018, https://arxiv.org/abs/1802.02611; without the
    norm and ReLU between the depthwise and the pointwise convolution.
    """
    return nn.Sequential(
        conv(2, in_channels, in_channels, kernel_size, dilation=dilation, groups=in_channels),
        conv(2, in_channels, channels, kernel_size=1),
        norm_layer(2, channels, norm),
        nn.ReLU(inplace=True),
    )


class PooledBatchNorm(nn.BatchNorm2d):
    """Batch norm for globally pooled maps, which also trains on a batch of one image.

    One value per channel has no variance: normalized by itself it would be zero, and PyTorch raises an error. In that
    case this norm normalizes with its running statistics and does not update them, which keeps the value and its
    gradient. Otherwise it is `nn.BatchNorm2d` with the same state dict, and converts to a synchronized batch norm.

    Shape:
        (N, C, H, W) -> (N, C, H, W)
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.shape[0] * x.shape[2] * x.shape[3] == 1:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        return super().forward(x)


class PooledSyncBatchNorm(nn.SyncBatchNorm):
    """Synchronized batch norm for globally pooled maps; in a single process equal to `PooledBatchNorm`."""

    def forward(self, x: Tensor) -> Tensor:
        # several processes have a value each, and therefore a variance
        is_single = not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1)
        if self.training and is_single and x.shape[0] * x.shape[2] * x.shape[3] == 1:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        return super().forward(x)


def pooled_norm(channels: int, norm: Norm) -> nn.Module:
    """Build a norm for maps that may be a single pixel; names as in `vertebra.backbones.layers.norm_layer`."""
    if norm == "batch":
        return PooledBatchNorm(channels)
    return PooledSyncBatchNorm(channels) if norm == "sync" else norm_layer(2, channels, norm)


class BinnedAvgPool2d(nn.AdaptiveAvgPool2d):
    """Adaptive average pooling to `size` x `size` bins, which also exports with dynamic height and width.

    The decomposition of PyTorch's operator has an index per pixel of the traced size, which is wrong for any other.

    Shape:
        (N, C, H, W) -> (N, C, size, size)
    """

    output_size: int

    def forward(self, x: Tensor) -> Tensor:
        if self.output_size == 1 or not torch.compiler.is_exporting():
            return super().forward(x)
        rows, columns = (bin_means(x.shape[axis], self.output_size, x) for axis in (2, 3))
        return rows @ x @ columns.T


def bin_means(length: int, bins: int, like: Tensor) -> Tensor:
    """Return the matrix (bins, length) of adaptive average pooling along an axis, in type and device of `like`."""
    numbers = torch.arange(bins, device=like.device)
    first, after = numbers * length // bins, ((numbers + 1) * length + bins - 1) // bins
    places = torch.arange(length, device=like.device)
    inside = (places >= first[:, None]) & (places < after[:, None])
    return inside.to(like.dtype) / (after - first)[:, None]


def pooled_conv_norm(in_channels: int, channels: int, size: int, norm: Norm) -> nn.Sequential:
    """Build adaptive average pooling to `size` x `size`, a 1x1 convolution, norm and ReLU.

    Shape:
        (N, in_channels, H, W) -> (N, channels, size, size)
    """
    return nn.Sequential(
        BinnedAvgPool2d(size),
        conv(2, in_channels, channels, kernel_size=1),
        pooled_norm(channels, norm),
        nn.ReLU(inplace=True),
    )


def resized(x: Tensor, size: Sequence[int]) -> Tensor:
    """Resize (N, C, H, W) to (N, C, *size) bilinearly, without aligned corners."""
    if torch.compiler.is_exporting():
        # sizes are symbols there; those of the trace may be equal by chance
        from torch.fx.experimental.symbolic_shapes import statically_known_true

        is_same = all(statically_known_true(side == other) for side, other in zip(x.shape[2:], size, strict=True))
    else:
        is_same = tuple(x.shape[2:]) == tuple(size)
    if is_same:
        return x
    if all(isinstance(side, int) and side == 1 for side in x.shape[2:]):  # a view, no interpolation of constants
        return x.expand(-1, -1, *size)
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


def initialize(module: nn.Module) -> None:
    """Initialize convolutions with Kaiming normal, fan out, and zero biases.

    Delving Deep into Rectifiers, He et al. 2015, https://arxiv.org/abs/1502.01852.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)

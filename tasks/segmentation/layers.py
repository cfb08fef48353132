"""What decoders are built of: a convolution with its norm, a norm that stands a single value, and resizing."""

from __future__ import annotations

from collections.abc import Sequence

import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from vertebra.backbones.layers import Norm, conv, norm_layer
from vertebra.tasks.segmentation.dilated import DilatedConv2d


def conv_norm(
    in_channels: int, channels: int, kernel_size: int = 3, dilation: int = 1, norm: Norm = "batch"
) -> nn.Sequential:
    """Build a convolution that keeps the size, a norm, and ReLU: (N, in_channels, H, W) -> (N, channels, H, W)."""
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
    """Build the same with a depthwise and a pointwise convolution in the place of the full one.

    Encoder-Decoder with Atrous Separable Convolution, Chen et al. 2018, https://arxiv.org/abs/1802.02611; here without
    a norm between the two.
    """
    return nn.Sequential(
        conv(2, in_channels, in_channels, kernel_size, dilation=dilation, groups=in_channels),
        conv(2, in_channels, channels, kernel_size=1),
        norm_layer(2, channels, norm),
        nn.ReLU(inplace=True),
    )


class PooledBatchNorm(nn.BatchNorm2d):
    """Batch norm behind global pooling, where a batch of one image leaves one value a channel.

    One value has no variance, and normalizing it by itself would give zero whatever it is; PyTorch raises an error.
    This norm takes its running statistics then and leaves them as they are, which keeps the value and its gradient.
    In every other case it is an ordinary batch norm, with the same state dict, and converts to a synchronized one.

    Shape:
        (N, C, H, W) -> (N, C, H, W)
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.shape[0] * x.shape[2] * x.shape[3] == 1:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        return super().forward(x)


class PooledSyncBatchNorm(nn.SyncBatchNorm):
    """The same over several processes, each of which has one value; a single process is as `PooledBatchNorm`."""

    def forward(self, x: Tensor) -> Tensor:
        alone = not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1)
        if self.training and alone and x.shape[0] * x.shape[2] * x.shape[3] == 1:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        return super().forward(x)


def pooled_norm(channels: int, norm: Norm) -> nn.Module:
    """Build the norm called `norm` for maps that may be a single pixel; see `vertebra.backbones.layers.norm_layer`."""
    if norm == "batch":
        return PooledBatchNorm(channels)
    return PooledSyncBatchNorm(channels) if norm == "sync" else norm_layer(2, channels, norm)


def pooled_conv_norm(in_channels: int, channels: int, size: int, norm: Norm) -> nn.Sequential:
    """Build a mean over `size` x `size` parts of the map, a 1x1 convolution, a norm, and ReLU.

    Shape:
        (N, in_channels, H, W) -> (N, channels, size, size)
    """
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(size),
        conv(2, in_channels, channels, kernel_size=1),
        pooled_norm(channels, norm),
        nn.ReLU(inplace=True),
    )


def resized(x: Tensor, size: Sequence[int]) -> Tensor:
    """Return (N, C, H, W) as (N, C, *size), bilinear, with pixels as squares (no aligned corners)."""
    if tuple(x.shape[2:]) == tuple(size):
        return x
    if x.shape[2] == x.shape[3] == 1:
        return x.expand(-1, -1, *size)
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


def initialize(module: nn.Module) -> None:
    """Draw convolutions by He's rule, Delving Deep into Rectifiers, 2015, https://arxiv.org/abs/1502.01852."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)

"""Dilated convolution with a fast path for bf16 on CPUs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_CHUNK = 512  # input channels per partial convolution; above this oneDNN falls back to its slow kernel


class DilatedConv2d(nn.Conv2d):
    """Size-preserving dilated convolution, split over input channels in bf16 on a CPU.

    oneDNN has no fast kernel for dilated convolutions of many channels: with 2048 input and 256 output channels,
    dilation 12 to 36 and a 2 x 40 x 40 map (ASPP on a ResNet-50), forward and backward in bf16 take 0.21 to 0.27 s as
    one convolution, and 0.09 to 0.12 s in four parts. The parts are summed in float32, but each is rounded to bf16
    first, so that the error is 1.5 roundings instead of one. On other devices and dtypes, and under `torch.export` or
    `torch.compile`, it is a plain `nn.Conv2d`.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: odd.
        dilation: dilation of the kernel.

    Shape:
        (N, in_channels, H, W) -> (N, out_channels, H, W)
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, dilation: int) -> None:
        padding = dilation * (kernel_size - 1) // 2
        super().__init__(in_channels, out_channels, kernel_size, padding=padding, dilation=dilation, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.in_channels <= _CHUNK or torch.compiler.is_compiling() or not _bf16_on_cpu(x):
            return super().forward(x)
        parts = zip(x.split(_CHUNK, dim=1), self.weight.split(_CHUNK, dim=1), strict=True)
        partial_sums = torch.stack([self._conv_forward(part, weight, None) for part, weight in parts])
        return partial_sums.sum(dim=0, dtype=torch.float32).to(torch.bfloat16)


def _bf16_on_cpu(x: Tensor) -> bool:
    if x.device.type != "cpu":
        return False
    if torch.is_autocast_enabled("cpu"):  # the input may still be float32: the convolution itself casts it
        return torch.get_autocast_dtype("cpu") == torch.bfloat16
    return x.dtype == torch.bfloat16

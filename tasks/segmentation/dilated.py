"""A dilated convolution that a CPU does quickly in bf16."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_CHUNK = 512  # input channels that are convolved at once


class DilatedConv2d(nn.Conv2d):
    """`torch.nn.Conv2d`, which in bf16 on a CPU is done by 512 input channels at a time, and the parts are summed.

    oneDNN leaves its quick path where a dilated convolution has many channels: from 2048 to 256 of them at dilation
    12 to 36 on 2 x 40 x 40 (ASPP behind a ResNet-50), a forward and backward pass in bf16 takes 0.21 to 0.27 s whole,
    and 0.09 to 0.12 s in four parts. The parts are summed in float32, but each was rounded to bf16 before, which makes
    the error 1.5 roundings instead of one. Elsewhere, and where the network is traced, it is the one operation.
    """

    def forward(self, x: Tensor) -> Tensor:
        plain = self.in_channels <= _CHUNK or self.groups > 1 or self.bias is not None
        if plain or torch.compiler.is_compiling() or not _bf16_on_cpu(x):
            return super().forward(x)
        parts = zip(x.split(_CHUNK, dim=1), self.weight.split(_CHUNK, dim=1), strict=True)
        sums = torch.stack([self._conv_forward(part, weight, None) for part, weight in parts])
        return sums.sum(dim=0, dtype=torch.float32).to(torch.bfloat16)


def _bf16_on_cpu(x: Tensor) -> bool:
    if x.device.type != "cpu":
        return False
    if torch.is_autocast_enabled("cpu"):
        return torch.get_autocast_dtype("cpu") == torch.bfloat16
    return x.dtype == torch.bfloat16

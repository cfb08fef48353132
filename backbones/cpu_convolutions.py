"""Convolutions with correct outputs and weight gradients on every CPU."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd


class _ExplicitPadding(_ConvNd):
    """Convolution that pads its input explicitly where padding inside oneDNN breaks the weight gradient.

    The AVX-512 kernels of oneDNN (seen in 3.12 with torch 2.14.1, on CPUs without AMX) compute wrong bounds
    where a kernel reaches beyond both ends of a short axis. The weight gradient is then off by as much as its own
    size or not finite, and some shapes write out of bounds; unpadded inputs are not affected. Most affected maps are
    those of the last stages, whose training steps take 1 to 2 times as long as with the wrong gradient.

    On CPUs with AMX, strided bf16 convolutions to an output one pixel wide add memory that was never set to their
    outputs and gradients, so that the result changes from call to call and can be NaN. They are computed in float32.
    Everywhere else, where no weight gradient is computed on a CPU, the result equals PyTorch's bit by bit.
    """

    _convolve: Callable[..., Tensor]

    def forward(self, x: Tensor) -> Tensor:
        return self.convolve(x, self.weight, self.bias)

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Convolve with other weights of the same shapes."""
        if x.device.type == "cpu" and self._reads_unset_memory(x):
            return self._in_float32(x, weight, bias)
        if x.device.type != "cpu" or not torch.is_grad_enabled() or not weight.requires_grad:
            return self._conv_forward(x, weight, bias)
        if self.padding_mode != "zeros" or not self._is_affected(x):  # the other modes pad explicitly anyway
            return self._conv_forward(x, weight, bias)
        return self._convolve(F.pad(x, self._pads), weight, bias, self.stride, 0, self.dilation, self.groups)

    def _in_float32(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Convolve operands that are rounded to bfloat16, and round the sums once, as a correct kernel does."""
        x, weight = x.bfloat16().float(), weight.bfloat16().float()
        bias = bias if bias is None else bias.bfloat16().float()
        with torch.autocast("cpu", enabled=False):
            if self.padding_mode == "zeros":
                x = F.pad(x, self._pads)
                return self._convolve(x, weight, bias, self.stride, 0, self.dilation, self.groups).bfloat16()
            return self._conv_forward(x, weight, bias).bfloat16()

    def _reads_unset_memory(self, x: Tensor) -> bool:
        """Return whether oneDNN may read memory that was never set: to an output one pixel wide, with a stride."""
        if self.stride[-1] == 1 or _compute_dtype(x) != torch.bfloat16:
            return False
        reach = self.dilation[-1] * (self.kernel_size[-1] - 1) + 1
        return x.shape[-1] + sum(self._pads[:2]) - reach < self.stride[-1]

    @property
    def _pads(self) -> list[int]:
        """Padding before and after each axis, last axis first, as in `F.pad`; also for `padding="same"`."""
        return self._reversed_padding_repeated_twice

    def _is_affected(self, x: Tensor) -> bool:
        """Return whether oneDNN may compute a wrong gradient for the shape of `x`.

        The conditions were found by sweeps against float64, over kernels of 1 to 9, strides, dilations, paddings and
        sizes. They cover every faulty shape, and some correct ones. float32 fails for fewer shapes than bfloat16.
        """
        dtype = _compute_dtype(x)
        for axis, (size, kernel, stride) in enumerate(
            zip(x.shape[-len(self.stride) :], self.kernel_size, self.stride, strict=True)
        ):
            end = 2 * (len(self.stride) - axis)
            before, after = self._pads[end - 2 : end]
            padding = max(before, after)
            if padding == 0:
                continue
            if axis == len(self.stride) - 3:  # depth
                more_than_one = size + before + after - kernel >= stride
                short = self.dilation[axis] == 1 and more_than_one and size < kernel + stride - 1
                if short and (dtype == torch.bfloat16 or padding > stride > 1):
                    return True
            elif dtype == torch.bfloat16 and (size < padding or size <= stride > 1):
                return True
        return False


def _compute_dtype(x: Tensor) -> torch.dtype:
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype


class Conv2d(_ExplicitPadding, nn.Conv2d):
    """2-D convolution; constructor, attributes and state dict are those of `nn.Conv2d`.

    Shape:
        (N, in_channels, H, W) or (in_channels, H, W) -> as `nn.Conv2d`
    """

    _convolve = staticmethod(F.conv2d)


class Conv3d(_ExplicitPadding, nn.Conv3d):
    """3-D convolution; constructor, attributes and state dict are those of `nn.Conv3d`.

    Shape:
        (N, in_channels, D, H, W) or (in_channels, D, H, W) -> as `nn.Conv3d`
    """

    _convolve = staticmethod(F.conv3d)


def replace_convolutions(network: nn.Module) -> None:
    """Turn every `nn.Conv2d` and `nn.Conv3d` of a network into these classes, in place, with parameters and hooks.

    Subclasses are left alone, since their `forward` may do something else.
    """
    own: dict[type[nn.Module], type[nn.Module]] = {nn.Conv2d: Conv2d, nn.Conv3d: Conv3d}
    for module in network.modules():
        module.__class__ = own.get(type(module), type(module))

"""Convolutions whose weight gradients are right on every CPU."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd


class _PaddingAhead(_ConvNd):
    """Pads the input ahead of the convolution where padding inside oneDNN's kernels breaks the weight gradient.

    The AVX-512 kernels of oneDNN (seen in 3.12 with torch 2.14.1, on CPUs without AMX) miscount the parts of a kernel
    that reach beyond both ends of a short axis. The weight gradient is then wrong by as much as itself or not finite,
    and some shapes make the kernel write out of bounds. Without padding they count right. Most affected maps are those
    of the last stages, whose training steps take 1 to 2 times as long as with the wrong gradient. Wherever no weight
    gradient is taken on a CPU, inference included, the result is PyTorch's to the last bit.
    """

    _convolve: Callable[..., Tensor]

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or not torch.is_grad_enabled() or not self.weight.requires_grad:
            return super().forward(x)
        if self.padding_mode != "zeros" or not self._outgrows(x):  # the other modes pad ahead anyway
            return super().forward(x)
        padded = F.pad(x, self._pads)
        return self._convolve(padded, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)

    @property
    def _pads(self) -> list[int]:
        """Zeros before and behind each axis, the last axis first, as `F.pad` takes them; also for `padding="same"`."""
        return self._reversed_padding_repeated_twice

    def _outgrows(self, x: Tensor) -> bool:
        """Return whether a kernel reaches too far beyond an axis of `x`.

        The rules come from sweeps, in float64 as the reference, over kernels of 1 to 9, strides, dilations, paddings
        and sizes. They cover every faulty shape, and some that are right. float32 errs less than bfloat16 does.
        """
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
        for axis, (size, kernel, stride) in enumerate(
            zip(x.shape[-len(self.stride) :], self.kernel_size, self.stride, strict=True)
        ):
            end = 2 * (len(self.stride) - axis)
            before, behind = self._pads[end - 2 : end]
            padding = max(before, behind)
            if padding == 0:
                continue
            if axis == len(self.stride) - 3:  # depth
                more_than_one = size + before + behind - kernel >= stride
                short = self.dilation[axis] == 1 and more_than_one and size < kernel + stride - 1
                if short and (dtype == torch.bfloat16 or padding > stride > 1):
                    return True
            elif dtype == torch.bfloat16 and (size < padding or size <= stride > 1):
                return True
        return False


class Conv2d(_PaddingAhead, nn.Conv2d):
    """2-D convolution; constructor, attributes and state dict are those of `nn.Conv2d`.

    Shape:
        (N, in_channels, H, W) or (in_channels, H, W) -> as `nn.Conv2d`
    """

    _convolve = staticmethod(F.conv2d)


class Conv3d(_PaddingAhead, nn.Conv3d):
    """3-D convolution; constructor, attributes and state dict are those of `nn.Conv3d`.

    Shape:
        (N, in_channels, D, H, W) or (in_channels, D, H, W) -> as `nn.Conv3d`
    """

    _convolve = staticmethod(F.conv3d)


def replace_convolutions(network: nn.Module) -> None:
    """Make every `nn.Conv2d` and `nn.Conv3d` of a network one of these, in place; parameters, names and hooks stay.

    Classes that are derived from PyTorch's stay as they are: what their own `forward` does is unknown.
    """
    own: dict[type[nn.Module], type[nn.Module]] = {nn.Conv2d: Conv2d, nn.Conv3d: Conv3d}
    for module in network.modules():
        module.__class__ = own.get(type(module), type(module))

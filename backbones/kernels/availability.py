"""Triton kernels where they run: on CUDA devices, with the package triton and a compiler."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from importlib import import_module

import torch
from torch import Tensor


def triton_kernel(name: str, device: torch.device) -> Callable[..., Tensor] | None:
    """Return the function `run` of a file of kernels, or None where Triton does not run and in traced graphs.

    Args:
        name: of the module; its function `check` launches all its kernels on tiny tensors of a device, once.
        device: of the tensors.
    """
    if device.type != "cuda" or torch.compiler.is_compiling():
        return None
    return _checked_kernel(name, device)


@cache
def _checked_kernel(name: str, device: torch.device) -> Callable[..., Tensor] | None:
    try:
        kernels = import_module(name)  # triton comes with torch for CUDA only
        kernels.check(device)
    except Exception as error:  # a missing package or C compiler, an old card: each layer below raises its own
        warnings.warn(
            f"the Triton kernels of {name} do not run on {device} ({type(error).__name__}: {error}); PyTorch's own "
            "operators take their place, which are slower. Install triton and a C compiler.",
            stacklevel=2,
        )
        return None
    return kernels.run

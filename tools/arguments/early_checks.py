"""Checks of a call that need no heavy import, so that a slip is answered at once."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterable
from pathlib import Path

from vertebra.tools.arguments.command_line import Flag

_WEIGHT_SUFFIXES = (".pth", ".pt", ".ckpt", ".safetensors", ".bin")
_CHOSEN_BY_LIGHTNING = ("best", "last", "hpc", "null")  # values of --ckpt_path that are not paths


def check_paths(flags: Iterable[Flag]) -> None:
    """Refuse flags whose value is a path that does not exist.

    Raises:
        FileNotFoundError: there is no such path.
    """
    for flag in flags:
        value = flag.value or ""
        name = flag.name.lstrip("-")
        is_path = name in ("data.root", "model.teacher") or (name == "ckpt_path" and value not in _CHOSEN_BY_LIGHTNING)
        # other weights may be names of published ones
        is_path = is_path or (name.endswith(".weights") and value.lower().endswith(_WEIGHT_SUFFIXES))
        if is_path and value and not Path(value).exists():
            raise FileNotFoundError(f"{value} does not exist ({flag.name}); correct the path.")


def check_device(flags: Iterable[Flag]) -> None:
    """Refuse a GPU where the machine has no driver for one.

    Raises:
        ValueError: there is none.
    """
    for flag in flags:
        wants_gpu = flag.name == "--trainer.accelerator" and flag.value in ("gpu", "cuda")
        if wants_gpu and sys.platform == "linux" and not _may_have_gpu():
            raise ValueError(
                f"{flag.name} is {flag.value}, but no GPU was found on this machine; leave it out, or use --device cpu."
            )


def _may_have_gpu() -> bool:
    """Return whether a driver of NVIDIA or AMD may have a GPU; torch, which decides, takes seconds to import."""
    if Path("/dev/kfd").exists():
        return True
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int(0)
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0

"""Checks of a call that need no heavy import, so that a slip is answered at once."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterable
from pathlib import Path

from vertebra.tools.arguments.command_line import Flag

_WEIGHT_SUFFIXES = (".pth", ".pt", ".ckpt", ".safetensors", ".bin")
_WEIGHT_WORDS = ("pretrained", "none", "null")
_CHOSEN_BY_LIGHTNING = ("best", "last", "hpc", "null")  # values of --ckpt_path that are not paths


def check_paths(flags: Iterable[Flag]) -> None:
    """Refuse flags whose value is a path that does not exist.

    Raises:
        FileNotFoundError: there is no such path.
        ValueError: weights are neither a path nor the name of published ones.
    """
    for flag in flags:
        value = flag.value or ""
        # names of published weights have a dot: resnet50.a1_in1k, ResNet50_Weights.DEFAULT
        is_word = flag.name.endswith("network.weights") and "." not in value and not Path(value).exists()
        if is_word and value.lower() not in _WEIGHT_WORDS:
            raise ValueError(
                f"{flag.name} is {value!r}, which does not exist; expected a file, pretrained, none, or a name of "
                "published weights, such as resnet50.a1_in1k."
            )
        name = flag.name.lstrip("-")
        is_path = name in ("data.root", "model.teacher") or (name == "ckpt_path" and value not in _CHOSEN_BY_LIGHTNING)
        # other weights may be names of published ones
        is_path = is_path or (name.endswith(".weights") and value.lower().endswith(_WEIGHT_SUFFIXES))
        if is_path and value and not Path(value).exists():
            raise FileNotFoundError(f"{value} does not exist ({flag.name}); correct the path.")


def check_run(path: Path) -> None:
    """Refuse a trained model that does not exist.

    Raises:
        FileNotFoundError: there is no such path.
    """
    if not path.expanduser().exists():
        raise FileNotFoundError(
            f"{path} does not exist; give a run folder such as runs/NAME, a checkpoint of `vertebra fit`, or a folder "
            "of `vertebra share`."
        )


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

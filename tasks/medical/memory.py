"""Bounds on the size of a scan, checked before memory is allocated for it."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

from vertebra.tasks.medical.scans import UnreadableScan

# 1024 x 1024 x 1024; a whole-body CT has half as many, and as float32, read and reordered, these take 8 GiB
MAX_PIXELS = 2**30
_BYTES = 8  # that a pixel takes meanwhile: as float32, and once more along the axes of the patient

# deflate, which gzip and zip files use, makes at most 1032 bytes of one: https://zlib.net/zlib_tech.html
MAX_DEFLATE_RATIO = 1032


def check_size(path: str, shape: Sequence[int]) -> None:
    """Refuse what is too large to be decoded as one scan.

    Args:
        path: of the file.
        shape: what its header says, all axes.

    Raises:
        UnreadableScan: the product of the axes is above `MAX_PIXELS`, or the machine has less memory than that takes.
    """
    count, most = math.prod(map(int, shape)), MAX_PIXELS
    memory = machine_memory()
    if memory is not None:
        most = min(most, memory // _BYTES)
    if count > most:
        raise UnreadableScan(
            f"{path}: is {' x '.join(map(str, shape))}, {count:.3g} pixels; expected at most {most:.3g}. Crop or "
            "resample the scan, or remove it from the data set if its header is damaged."
        )


def machine_memory() -> int | None:
    """Return the bytes of memory that this machine has, None where the system does not say."""
    if not hasattr(os, "sysconf"):  # Windows
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")

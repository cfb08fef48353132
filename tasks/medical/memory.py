"""Limits on the size of scans, checked before allocation."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

from vertebra.tasks.medical.scans import UnreadableScan

# 1024 x 1024 x 1024: twice a whole-body CT, and 8 GiB while it is read
MAX_PIXELS = 2**30
_BYTES_PER_PIXEL = 8  # peak: float32, and a second copy in the orientation of the patient

# maximum compression ratio of deflate, the method of gzip and zip: https://zlib.net/zlib_tech.html
MAX_DEFLATE_RATIO = 1032


def check_size(path: str, shape: Sequence[int]) -> None:
    """Reject scans that are too large to decode.

    Args:
        path: file path, for messages.
        shape: all axes, as in the header.

    Raises:
        UnreadableScan: more than `MAX_PIXELS`, or more than fit into the memory of this machine.
    """
    # Python integers: the product of a damaged header overflows int64
    count, limit = math.prod(map(int, shape)), MAX_PIXELS
    memory = machine_memory()
    if memory is not None:
        limit = min(limit, memory // _BYTES_PER_PIXEL)
    if count > limit:
        raise UnreadableScan(
            f"{path}: is {' x '.join(map(str, shape))}, {count:.3g} pixels; expected at most {limit:.3g}. Crop or "
            "resample the scan, or remove it from the data set if its header is damaged."
        )


def machine_memory() -> int | None:
    """Return the physical memory of this machine in bytes, None on systems without `sysconf`."""
    if not hasattr(os, "sysconf"):  # Windows
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")

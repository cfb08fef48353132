"""In-memory cache of preprocessed scans with a size limit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch.utils.data import get_worker_info

MIB = 2**20


class Cache:
    """Cache without eviction: arrays are kept in order of first use until the memory limit is reached.

    Every epoch reads each scan once. Under this access pattern an LRU cache smaller than the data set has no hits at
    all: it evicts each scan just before its next use.

    Args:
        mib: memory limit of all loader processes together, in MiB. Each process gets an equal share, since any of them
            may load any scan.
    """

    def __init__(self, mib: float) -> None:
        if mib < 0:
            raise ValueError(f"data.cache_mib is {mib}; expected a size in MiB. Give 0 for no cache.")
        self.mib = mib
        self.used = 0  # bytes, in this process
        self._arrays: dict[int, np.ndarray] = {}

    def get(self, index: int, make: Callable[[int], np.ndarray]) -> np.ndarray:
        """Return the array at `index`, cached or computed by `make`; callers must not write into it."""
        if index in self._arrays:
            return self._arrays[index]
        array = make(index)
        # looked up here and not in the constructor, which runs in the main process
        worker = get_worker_info()
        if self.used + array.nbytes <= self.mib * MIB / (worker.num_workers if worker else 1):
            self._arrays[index] = array
            self.used += array.nbytes
        return array

"""Prepared scans in memory, up to a bound."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch.utils.data import get_worker_info

MIB = 2**20


class Cache:
    """Keeps arrays by number, those that came first, until the memory is used up.

    What is in stays in. Every epoch asks once for each scan: a cache that made room by throwing out what was used the
    longest ago would throw out each scan just before it is asked for again, as soon as it does not hold all.

    Args:
        mib: memory of all loader processes together, in MiB; each has an equal share, as it sees any of the scans.
    """

    def __init__(self, mib: float) -> None:
        if mib < 0:
            raise ValueError(f"data.cache_mib is {mib}; it is a memory in MiB, 0 for none.")
        self.mib = mib
        self.used = 0  # bytes, in this process
        self._kept: dict[int, np.ndarray] = {}

    def get(self, number: int, make: Callable[[int], np.ndarray]) -> np.ndarray:
        """Return the array of a number, from memory or made; it is not to be written into."""
        if number in self._kept:
            return self._kept[number]
        made = make(number)
        worker = get_worker_info()
        if self.used + made.nbytes <= self.mib * MIB / (worker.num_workers if worker else 1):
            self._kept[number] = made
            self.used += made.nbytes
        return made

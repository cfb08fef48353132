"""What the processes of one run tell each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch.distributed as dist

T = TypeVar("T")


def gathered(items: Sequence[T]) -> list[T]:
    """Return the items of all processes, the first process's first; every process must call this.

    Args:
        items: anything that can be pickled; in a run of one process they come back as they are.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return list(items)
    parts: list[Sequence[T]] = [[] for _ in range(dist.get_world_size())]
    dist.all_gather_object(parts, items)
    return [item for part in parts for item in part]

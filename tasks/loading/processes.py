"""What the processes of one run tell each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist

T = TypeVar("T")


def all_gather(items: Sequence[T]) -> list[T]:
    """Return the items of all processes, the first process's first; every process must call this.

    Args:
        items: anything that can be pickled; in a run of one process they come back as they are.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return list(items)
    parts: list[Sequence[T]] = [[] for _ in range(dist.get_world_size())]
    dist.all_gather_object(parts, items)
    return [item for part in parts for item in part]


class Consensus:
    """The largest of the numbers that the processes of a run pass in, the same in all of them.

    Several processes learn it one call late: the exchange runs on the hosts while they compute, and no device waits for
    it. All of them must construct it, and call it equally often.
    """

    def __init__(self) -> None:
        several = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        self._group: Any = dist.new_group(backend="gloo") if several else None
        self._sent: tuple[torch.Tensor, Any] | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Consensus:
        return self  # Lightning's weight averaging copies a module with its trainer, and a process group has no copy

    def __call__(self, number: int) -> int:
        """Pass in a number of this process and return the largest of the numbers of the call before, or of this one.

        It is of this one in a run of one process.
        """
        if self._group is None:
            return number
        sent, numbers = self._sent, torch.tensor([number])
        self._sent = numbers, dist.all_reduce(numbers, dist.ReduceOp.MAX, group=self._group, async_op=True)
        if sent is None:
            return 0
        sent[1].wait()
        return int(sent[0])

    def now(self, number: int) -> int:
        """Pass in a number of this process, wait for the others, and return the largest."""
        self(number)
        return self(number)

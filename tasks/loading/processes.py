"""Communication between the processes of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist

T = TypeVar("T")


def all_gather(items: Sequence[T]) -> list[T]:
    """Return the items of all processes in order of rank; a collective call.

    Args:
        items: any picklable objects; returned unchanged in a single-process run.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return list(items)
    parts: list[Sequence[T]] = [[] for _ in range(dist.get_world_size())]
    dist.all_gather_object(parts, items)
    return [item for part in parts for item in part]


class Consensus:
    """Asynchronous maximum of a number over all processes, equal in all of them.

    With several processes the result lags one call behind: the reduction runs on the hosts (gloo) during computation
    and no device waits for it. All processes must construct it and call it equally often.
    """

    def __init__(self) -> None:
        several = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        self._group: Any = dist.new_group(backend="gloo") if several else None
        self._sent: tuple[torch.Tensor, Any] | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Consensus:
        return self  # weight averaging deep-copies the module with its trainer, and a process group cannot be copied

    def __call__(self, number: int) -> int:
        """Contribute a number and return the maximum of the previous call (of this call with a single process)."""
        if self._group is None:
            return number
        sent, numbers = self._sent, torch.tensor([number])
        self._sent = numbers, dist.all_reduce(numbers, dist.ReduceOp.MAX, group=self._group, async_op=True)
        if sent is None:
            return 0
        sent[1].wait()
        return int(sent[0])

    def now(self, number: int) -> int:
        """Contribute a number, wait for all processes, and return the maximum."""
        self(number)
        return self(number)

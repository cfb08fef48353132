"""Which samples make which batch: a pure function of seed, epoch and rank, so that a cut run goes on as it was."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler


class Draw(NamedTuple):
    """One sample as the data set is asked for it.

    Attributes:
        sample: index of the sample.
        seed: for what chance decides about this sample alone, the same however many workers there are.
        batch_seed: for what it decides about the whole batch, such as its image size.
    """

    sample: int
    seed: int
    batch_seed: int


class GroupedBatches(Sampler[list[Draw]]):
    """Random batches of samples of one group, such as portrait or landscape images, so that padding wastes little.

    Every process draws the same batches and takes its share of them; where they cannot be shared out evenly, the first
    ones come again, since all processes have to take the same number of steps.

    Args:
        groups: the group of each sample.
        batch_size: samples in a batch of one process.
        seed: of the whole run.
        rank: number of this process.
        world_size: number of processes.
    """

    def __init__(self, groups: Sequence[int], batch_size: int, seed: int, rank: int = 0, world_size: int = 1) -> None:
        self.groups = np.asarray(groups)
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self.skip = (-1, 0)  # in this epoch, so many batches were seen before the run was cut

    @property
    def sampler(self) -> GroupedBatches:
        """Itself: Lightning tells the epoch to the `sampler` of a batch sampler."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch to draw."""
        self.epoch = epoch

    def __len__(self) -> int:
        sizes = np.unique(self.groups, return_counts=True)[1]
        rest = sum(size % self.batch_size for size in sizes)
        batches = sum(size // self.batch_size for size in sizes) + -(-rest // self.batch_size)
        return int(-(-batches // self.world_size))

    def __iter__(self) -> Iterator[list[Draw]]:
        batches = self._batches()
        places = range(self.rank, len(self) * self.world_size, self.world_size)
        mine = [batches[place % len(batches)] for place in places]
        yield from mine[self.skip[1] if self.skip[0] == self.epoch else 0 :]

    def _batches(self) -> list[list[Draw]]:
        chance = np.random.default_rng((self.seed, self.epoch))
        order = chance.permutation(len(self.groups))
        seeds = chance.integers(2**31, size=(2, len(order)))
        waiting: dict[int, list[int]] = {int(group): [] for group in np.unique(self.groups)}
        chosen: list[list[int]] = []
        for index in order:
            batch = waiting[int(self.groups[index])]
            batch.append(int(index))
            if len(batch) == self.batch_size:
                chosen.append(list(batch))
                batch.clear()
        rest = [index for batch in waiting.values() for index in batch]
        chosen += [rest[i : i + self.batch_size] for i in range(0, len(rest), self.batch_size)]
        chance.shuffle(chosen)
        return [
            [Draw(index, int(seeds[0, index]), int(seeds[1, number])) for index in batch]
            for number, batch in enumerate(chosen)
        ]


class Shard(Sampler[int]):
    """Every sample once, in order, dealt out to the processes without repeating any.

    Args:
        size: number of samples.
        rank: number of this process.
        world_size: number of processes.
    """

    def __init__(self, size: int, rank: int = 0, world_size: int = 1) -> None:
        self.indices = range(rank, size, world_size)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)

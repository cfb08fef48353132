"""Batch sampling as a pure function of seed, epoch and rank, so that an interrupted run resumes exactly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler


class SampleRequest(NamedTuple):
    """A sample to read, with its random seeds.

    Attributes:
        sample: index of the sample.
        seed: of the sample's augmentation, independent of the number of workers.
        batch_seed: of what is drawn for the whole batch, such as its image size.
        epochs_left: number of epochs that follow this one; None where the training has no known end.
    """

    sample: int
    seed: int
    batch_seed: int
    epochs_left: int | None = None  # in the request, since persistent loader processes see nothing else of an epoch


class GroupedBatches(Sampler[list[SampleRequest]]):
    """Random batches of samples of one group, such as portrait or landscape images, so that padding wastes little.

    Every process draws the same batches and takes its share of them; where they do not divide evenly, the first ones
    are repeated, since all processes have to take the same number of steps. No batch has a single sample if there are
    two, since batch norm cannot train on one: a last sample on its own gets one of the batch before, and with batches
    of two, from which none can be taken, one sample is repeated.

    Args:
        groups: the group of each sample.
        batch_size: samples in a batch of one process.
        seed: of the whole run.
        rank: number of this process.
        world_size: number of processes.
        weights: how often each sample is drawn, in proportion to the others of its group, with repetition; None draws
            each once an epoch.
        epochs: of the whole training; None where it has no known end.

    Raises:
        ValueError: a weight is below 0 or not finite, or all of a group are 0.
    """

    def __init__(
        self,
        groups: Sequence[int],
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        weights: Sequence[float] | None = None,
        epochs: int | None = None,
    ) -> None:
        self.groups = np.asarray(groups)
        self.weights = None if weights is None else _checked(np.asarray(weights, dtype=np.float64), self.groups)
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epochs = epochs
        self.epoch = 0
        self.skip = (-1, 0)  # (epoch, batches of it that were trained on before the run was interrupted)

    @property
    def sampler(self) -> GroupedBatches:
        """Itself: Lightning calls `set_epoch` of the `sampler` of a batch sampler."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch to draw."""
        self.epoch = epoch

    def __len__(self) -> int:
        sizes = np.unique(self.groups, return_counts=True)[1]
        rest = sum(size % self.batch_size for size in sizes)
        batches = sum(size // self.batch_size for size in sizes) + -(-rest // self.batch_size)
        return int(-(-batches // self.world_size))

    def __iter__(self) -> Iterator[list[SampleRequest]]:
        yield from self.batches_of(self.epoch)[self.skip[1] if self.skip[0] == self.epoch else 0 :]

    def batches_of(self, epoch: int) -> list[list[SampleRequest]]:
        """Return all batches of this process in an epoch."""
        batches = self._batches(epoch)
        places = range(self.rank, len(self) * self.world_size, self.world_size)
        return [batches[place % len(batches)] for place in places]

    def _batches(self, epoch: int) -> list[list[SampleRequest]]:
        # a generator per epoch: a resumed run draws its epoch without those before it
        rng = np.random.default_rng((self.seed, epoch))
        order = rng.permutation(len(self.groups))
        seeds = rng.integers(2**31, size=(2, len(order)))
        own = seeds[0, order]  # a sample that is drawn twice is augmented differently
        if self.weights is not None:
            for group in np.unique(self.groups):  # group by group, so that every epoch has as many batches
                members = np.flatnonzero(self.groups == group)
                share = self.weights[members] / self.weights[members].sum()
                order[self.groups[order] == group] = rng.choice(members, size=len(members), p=share)
        waiting: dict[int, list[tuple[int, int]]] = {int(group): [] for group in np.unique(self.groups)}
        chosen: list[list[tuple[int, int]]] = []
        for index, seed in zip(order.tolist(), own.tolist(), strict=True):
            batch = waiting[int(self.groups[index])]
            batch.append((index, seed))
            if len(batch) == self.batch_size:
                chosen.append(list(batch))
                batch.clear()
        rest = [draw for batch in waiting.values() for draw in batch]
        chosen += [rest[i : i + self.batch_size] for i in range(0, len(rest), self.batch_size)]
        if self.batch_size > 1 and len(chosen) > 1 and len(chosen[-1]) == 1:
            if self.batch_size > 2:
                chosen[-1].append(chosen[-2].pop())
            else:
                index, seed = chosen[0][0]
                chosen[-1].append((index, seed ^ 1))  # another seed, another augmentation
        # or else the incomplete and mixed batches would always be the last of an epoch
        rng.shuffle(chosen)
        left = None if self.epochs is None else max(0, self.epochs - 1 - epoch)
        return [
            [SampleRequest(index, seed, int(seeds[1, number]), left) for index, seed in batch]
            for number, batch in enumerate(chosen)
        ]


def _checked(weights: np.ndarray, groups: np.ndarray) -> np.ndarray:
    if weights.shape != groups.shape or not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError(
            f"weights are {weights.shape} in {weights.min()}..{weights.max()}; expected {groups.shape}, one for each "
            "sample, finite and not below 0."
        )
    empty = [int(group) for group in np.unique(groups) if not weights[groups == group].any()]
    if empty:
        raise ValueError(f"all samples of the groups {empty} have weight 0; give one of each a weight above 0.")
    return weights


class Shard(Sampler[int]):
    """Every sample once, in order, divided among the processes without repeating any.

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

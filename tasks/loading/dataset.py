"""Base map-style data set, with a rule for samples that cannot be read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from torch.utils.data import Dataset

from vertebra.tasks.loading.fault_policy import Missing
from vertebra.tasks.loading.files.faults import UnreadableFile
from vertebra.tasks.loading.samplers import SampleRequest

S = TypeVar("S")


@dataclass(frozen=True)
class Read(Generic[S]):
    """The result of reading a sample.

    Attributes:
        sample: what was read, or None where it cannot be.
        skipped: why not, one message a file; in training there may be another sample in its place.
    """

    sample: S | None
    skipped: tuple[str, ...] = ()


class TaskDataset(Dataset[Read[S]], ABC, Generic[S]):
    """Reads samples, by a `SampleRequest` in training and by index in evaluation.

    Args:
        size: number of samples.
        missing: `error` stops at a file that cannot be read; `skip` puts another sample in its place in training, and
            leaves it out in evaluation.
    """

    def __init__(self, size: int, missing: Missing = "error") -> None:
        self.size = size
        self.missing = missing

    @abstractmethod
    def read(self, index: int, draw: SampleRequest | None) -> S:
        """Return a sample.

        Args:
            index: which.
            draw: seeds of the augmentation in training; None reads it without.

        Raises:
            UnreadableFile: its file is missing or broken.
        """

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, wanted: SampleRequest | int) -> Read[S]:
        if isinstance(wanted, int):  # evaluation: this sample without augmentation, or none
            return self._try(wanted, None)
        skipped: tuple[str, ...] = ()
        # the next one and not a random one: the same in every worker and in a resumed run
        for step in range(self.size):
            found = self._try((wanted.sample + step) % self.size, wanted)
            skipped += found.skipped
            if found.sample is not None:
                return Read(found.sample, skipped)
        raise UnreadableFile(f"{skipped[0]} None of the {self.size} samples can be read.")

    def _try(self, index: int, draw: SampleRequest | None) -> Read[S]:
        try:
            return Read(self.read(index, draw))
        except UnreadableFile as error:
            if self.missing == "skip":
                return Read(None, (str(error),))
            # of the same class, which callers distinguish (images, videos, scans)
            raise type(error)(f"{error} Or leave such files out with data.missing=skip.") from None


def samples_of(reads: Iterable[Read[S]]) -> tuple[list[S], list[str]]:
    """Return the samples that could be read, for `collate` to batch, and the messages about the others."""
    reads = list(reads)
    return [one.sample for one in reads if one.sample is not None], [note for one in reads for note in one.skipped]

"""Rows of bytes of different lengths as one column of a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np


# eq=False: arrays have no truth value to compare by
@dataclass(frozen=True, eq=False)
class ByteRows:
    """N rows of bytes in one array, indexed and concatenated as a NumPy column is.

    One array and not a list of `bytes`: loader processes share an array, and copy a list page by page.

    Attributes:
        values: (B,) uint8, all rows one behind the other.
        ends: (N + 1,) int64, row i is `values[ends[i]:ends[i + 1]]`.
    """

    values: np.ndarray
    ends: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[np.ndarray | bytes]) -> ByteRows:
        """Return a column of rows of bytes."""
        arrays = [np.frombuffer(row, dtype=np.uint8) if isinstance(row, bytes) else row for row in rows]
        ends = np.cumsum([0, *map(len, arrays)], dtype=np.int64)
        return cls(np.concatenate([np.zeros(0, dtype=np.uint8), *arrays]), ends)

    @classmethod
    def concatenate(cls, columns: Sequence[ByteRows]) -> ByteRows:
        """Return the rows of one or more columns in one."""
        before = np.cumsum([0, *(len(column.values) for column in columns)], dtype=np.int64)
        ends = [column.ends[1:] + start for column, start in zip(columns, before[:-1], strict=True)]
        return cls(np.concatenate([column.values for column in columns]), np.concatenate([before[:1], *ends]))

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, rows: slice | np.ndarray) -> ByteRows:
        if isinstance(rows, slice):
            first, last, step = rows.indices(len(self))
            if step == 1:  # a view, which takes only its own part of the values with it to another process
                ends = self.ends[first : max(first, last) + 1]
                return ByteRows(self.values[ends[0] : ends[-1]], ends - ends[0])
        return ByteRows.of([self.row(i) for i in np.arange(len(self))[rows].tolist()])

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self.row(i) for i in range(len(self)))

    def row(self, index: int) -> np.ndarray:
        """Return a row (L,) uint8, as a view."""
        return self.values[self.ends[index] : self.ends[index + 1]]

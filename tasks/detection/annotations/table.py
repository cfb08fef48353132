"""Tables in columns: rows indexed, concatenated and padded as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, Protocol

import numpy as np
from typing_extensions import Self


class Rows(Protocol):
    """A column whose rows are no numbers, such as masks."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice | np.ndarray) -> Self: ...

    @classmethod
    def concatenate(cls, columns: Sequence[Self]) -> Self:
        """Return the rows of one or more columns in one."""


class Table:
    """N rows in columns: a frozen dataclass whose fields are arrays (N, ...) or `Rows`, or None where absent.

    Every method goes over the fields, so that another column (masks, keypoints) is one field of the subclass.
    """

    def __len__(self) -> int:
        # the first column that is there: any has N rows
        return len(next(column for column in vars(self).values() if column is not None))

    def __getitem__(self, rows: slice | np.ndarray) -> Self:
        """Return some of the rows by a slice (as views), a mask (N,) or indices."""
        # no check of lengths: an augmented data set does this for every sample
        return self._map(lambda column: column[rows])

    @classmethod
    def concatenate(cls, tables: Sequence[Self]) -> Self:
        """Return the rows of one or more tables, which have the same columns, in one."""
        return cls._merge(_concatenated, tables)

    @classmethod
    def stack(cls, tables: Sequence[Self], at_least: int = 0, multiple: int = 1) -> Self:
        """Pad one or more tables with zeros to the same number of rows G, and stack their columns to (N, G, ...).

        Args:
            tables: with the same columns, all of them arrays.
            at_least: lower bound of G.
            multiple: divides G, so that few shapes occur.
        """
        count = -(-max([at_least, *map(len, tables)]) // multiple) * multiple
        return cls._merge(np.stack, [table._padded(count) for table in tables])

    def to(self, device: Any) -> Self:
        """Return the table itself: its arrays stay on the host.

        Lightning moves all that has this method by calling it, and would copy any other dataclass field by field,
        which a frozen one does not allow.
        """
        return self

    def _padded(self, count: int) -> Self:
        missing = count - len(self)  # zeros: label 0 is the background, a box without area
        return self._map(lambda column: np.pad(column, [(0, missing), *[(0, 0)] * (column.ndim - 1)]))

    def _map(self, function: Callable[[Any], Any]) -> Self:
        return type(self)(**{name: None if x is None else function(x) for name, x in vars(self).items()})

    @classmethod
    def _merge(cls, function: Callable[[list[Any]], Any], tables: Sequence[Self]) -> Self:
        columns = {field.name: [getattr(table, field.name) for table in tables] for field in fields(cls)}  # type: ignore[arg-type]
        return cls(**{name: None if x[0] is None else function(x) for name, x in columns.items()})


def _concatenated(columns: list[Any]) -> Any:
    return np.concatenate(columns) if isinstance(columns[0], np.ndarray) else columns[0].concatenate(columns)

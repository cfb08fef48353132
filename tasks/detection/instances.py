"""Tables of objects: annotated instances and detections, indexed, concatenated and padded as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from typing_extensions import Self


class Table:
    """N rows in columns: a frozen dataclass whose fields are arrays (N, ...), or None where a column is absent.

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
        return cls._merge(np.concatenate, tables)

    @classmethod
    def stack(cls, tables: Sequence[Self], at_least: int = 0, multiple: int = 1) -> Self:
        """Pad one or more tables with zeros to the same number of rows G, and stack their columns to (N, G, ...).

        Args:
            tables: with the same columns.
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

    def _map(self, function: Callable[[np.ndarray], np.ndarray]) -> Self:
        return type(self)(**{name: None if x is None else function(x) for name, x in vars(self).items()})

    @classmethod
    def _merge(cls, function: Callable[[list[np.ndarray]], np.ndarray], tables: Sequence[Self]) -> Self:
        columns = {field.name: [getattr(table, field.name) for table in tables] for field in fields(cls)}  # type: ignore[arg-type]
        return cls(**{name: None if x[0] is None else function(x) for name, x in columns.items()})


# eq=False: arrays have no truth value to compare by
@dataclass(frozen=True, eq=False)
class Instances(Table):
    """Annotated objects; arrays and not objects, for the reason that `Annotations` gives.

    Attributes:
        boxes: (N, 4) float xyxy in pixels of the image at hand.
        labels: (N,) int64 in 1..K.
        crowd: (N,) bool, regions in which detections are neither right nor wrong.
        areas: (N,) float64, area of the object (of its mask where the file has it) in pixels of the image file, also
            where the image is resized or augmented.
        ids: (N,) int64, the annotations' own.
    """

    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    areas: np.ndarray
    ids: np.ndarray  # kept so that faults and results can name an annotation of the file

    @classmethod
    def empty(cls) -> Instances:
        """Return a table without rows."""
        none: np.ndarray = np.zeros(0)
        integers = none.astype(np.int64)
        return cls(none.reshape(0, 4), integers, none.astype(np.bool_), none, integers)


@dataclass(frozen=True, eq=False)
class Detections(Table):
    """What a detector found in an image.

    Attributes:
        boxes: (D, 4) float64 xyxy in pixels of the image file.
        labels: (D,) int64 in 1..K.
        scores: (D,) float64 in 0..1.
    """

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray

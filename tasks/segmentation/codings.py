"""Coding of mask files: the class of each gray value, palette index or color."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from vertebra.tasks.segmentation.ignore import IGNORE_INDEX

UNKNOWN = -1  # label of a value without a class


class Coding(NamedTuple):
    """Class of each value of a mask file.

    Attributes:
        class_names: the K classes.
        values: (M,) int64, ascending: gray values or indices into a palette in 0..255, or colors as
            `red * 65536 + green * 256 + blue`.
        meanings: (M,) int64, the label of each in 0..K-1, or `IGNORE_INDEX`.
        in_color: whether the values are colors.
        assumes_void: whether 255 is ignored by default: neither the classes nor the user say what it is.
    """

    class_names: tuple[str, ...]
    values: np.ndarray
    meanings: np.ndarray
    in_color: bool = False
    assumes_void: bool = False

    def labels(self, values: np.ndarray) -> np.ndarray:
        """Return the labels (H, W) int16 of values (H, W), `UNKNOWN` where they have no class."""
        if not self.in_color:
            # a lookup table: masks have millions of pixels; int16, since uint8 has no room for `UNKNOWN`
            table = np.full(256, UNKNOWN, dtype=np.int16)
            table[self.values] = self.meanings
            return table[values]
        # 2^24 colors are too many for a table; the minimum is for colors above the last one
        indices = np.minimum(np.searchsorted(self.values, values), len(self.values) - 1)
        return np.where(self.values[indices] == values, self.meanings[indices], UNKNOWN).astype(np.int16)

    def renumbered(self, class_names: Sequence[str]) -> Coding:
        """Return the coding with the labels of other classes, matched by name; what they lack is ignored."""
        label_of = {name: label for label, name in enumerate(class_names)}
        labels = [label_of.get(name, IGNORE_INDEX) for name in self.class_names]
        table = np.full(IGNORE_INDEX + 1, IGNORE_INDEX, dtype=np.int64)
        table[: len(labels)] = labels
        return self._replace(class_names=tuple(class_names), meanings=table[self.meanings])

    def describe_unknown(self, values: np.ndarray) -> str:
        """Return a message on values (M,) without a class: which, how often each occurs, and what to do."""
        found, counts = np.unique(values, return_counts=True)
        order = np.argsort(-counts, kind="stable")
        pairs = ", ".join(f"{self._shown(int(found[i]))} ({counts[i]} pixels)" for i in order[:8])
        more = f" and {len(found) - 8} more" if len(found) > 8 else ""
        kind = "colors" if self.in_color else "values"
        return f"the {kind} {pairs}{more} have no class. Name them in data.ignored, or add the class."

    def _shown(self, value: int) -> str:
        return str((value >> 16, value >> 8 & 255, value & 255)) if self.in_color else str(value)


def coding(
    class_names: Sequence[str],
    values: Mapping[int, int] | None = None,
    ignored: Sequence[int] = (),
    in_color: bool = False,
) -> Coding:
    """Build a coding.

    Args:
        class_names: the K classes.
        values: value in the file -> label; None for value k standing for class k.
        ignored: values of unlabeled pixels. Beside them 255 is ignored, unless it is that of a class.
        in_color: whether the values are colors, see `Coding`.

    Raises:
        ValueError: a value is out of range, is ignored and a class at once, or a label is not in 0..K-1.
    """
    labels = dict(enumerate(range(len(class_names)))) if values is None else dict(values)
    largest = 0xFFFFFF if in_color else 255
    wrong = [value for value in (*labels, *ignored) if not 0 <= value <= largest]
    wrong += [value for value, label in labels.items() if not 0 <= label < len(class_names) or value in ignored]
    if wrong:
        raise ValueError(
            f"the values {sorted(set(wrong))} of the masks cannot be used with {len(class_names)} classes; expected "
            f"are values in 0..{largest}, each for one class or ignored. Correct data.ignored or the list of classes."
        )
    labels |= dict.fromkeys(ignored, IGNORE_INDEX)
    # 255 is the void of Pascal VOC and of Cityscapes' training ids
    assumes_void = not in_color and IGNORE_INDEX not in labels
    if assumes_void:
        labels[IGNORE_INDEX] = IGNORE_INDEX
    pairs = np.array(sorted(labels.items()), dtype=np.int64).reshape(-1, 2)
    return Coding(tuple(class_names), pairs[:, 0], pairs[:, 1], in_color, assumes_void)

"""Pixel values and class names, as a class file lists them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

# names of unlabeled pixels in the class files of several tools
_VOID = frozenset({"void", "unlabeled", "__ignore__"})


class ClassList(NamedTuple):
    """The entries of a class file.

    Attributes:
        classes: (value or color, name) of each class, in the order of the file.
        void: values or colors of unlabeled pixels.
        in_color: whether the masks are in color; a color is `red * 65536 + green * 256 + blue`.
    """

    classes: list[tuple[int, str]]
    void: list[int]
    in_color: bool = False


def class_list(entries: Iterable[tuple[int, str]], in_color: bool = False) -> ClassList:
    """Sort entries (value, name) with an explicit value each into classes and what stays unlabeled."""
    rows = [(value, name.strip()) for value, name in entries]
    largest = 0xFFFFFF if in_color else 255
    for value, name in rows:
        if not name:
            raise ValueError(f"the class of value {value} has no name")
        if not 0 <= value <= largest:
            raise ValueError(f"the value of {name!r} is {value}, which a mask of 8 bits cannot hold")
    classes = [(value, name) for value, name in rows if name.lower() not in _VOID]
    return ClassList(classes, [value for value, name in rows if name.lower() in _VOID], in_color)


def color(red: int, green: int, blue: int) -> int:
    """Return the number of a color of three values in 0..255.

    Raises:
        ValueError: a value is out of range.
    """
    if not all(0 <= value <= 255 for value in (red, green, blue)):
        raise ValueError(f"the color {red}, {green}, {blue} is out of 0..255")
    return red << 16 | green << 8 | blue

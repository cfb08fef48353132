"""Classes whose meaning a mirror image changes, and training augmentation without left-right flips for them."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from typing import TypeVar

import albumentations as A

_SIDES = {"left", "right", "leftward", "rightward", "leftwards", "rightwards"}
_SIDES |= {"clockwise", "counterclockwise", "anticlockwise"}
_DIGITS = set("0123456789")
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")  # also of camelCase names
_FLIPS = (A.HorizontalFlip, A.D4, A.Transpose)

T = TypeVar("T", A.BasicTransform, A.BasicTransform | A.BaseCompose)


def mirrored_classes(class_names: Sequence[str]) -> list[str]:
    """Return the classes that a left-right flip may turn into another: sides, turns, letters and the ten digits.

    The classes 0 to K - 1 of a file without names are no digits, unless they are exactly ten.
    """
    sided = [name for name in class_names if _SIDES & {word.lower() for word in _WORD.findall(name)}]
    letters = [name for name in class_names if len(name) == 1 and name.isalpha()]
    digits = [name for name in class_names if name in _DIGITS] if set(class_names) >= _DIGITS else []
    text = {*digits, *(letters if len(letters) > 1 else ())}
    return [name for name in class_names if name in sided or name in text]


def never_flipped(class_names: Sequence[str], chosen: Sequence[str] | None) -> list[str]:
    """Return the classes that training does not flip.

    Args:
        class_names: the classes of the data set.
        chosen: `data.no_flip_classes`; None for those that their names suggest, with a warning.

    Raises:
        ValueError: a chosen class is not among those of the data set.
    """
    if chosen is None:
        if found := mirrored_classes(class_names):
            warnings.warn(
                f"no left-right flips in training for {', '.join(found[:8])}{' and others' if len(found) > 8 else ''}: "
                "their mirror images may be of another class. To flip them, too: --data.no_flip_classes [].",
                stacklevel=2,
            )
        return found
    if unknown := sorted(set(chosen) - set(class_names)):
        raise ValueError(f"data.no_flip_classes names {unknown}; the classes are {', '.join(class_names)}.")
    return list(chosen)


def without_flips(transforms: Sequence[T], class_names: Sequence[str], chosen: Sequence[str] | None) -> list[T]:
    """Return training transforms without left-right flips if a class must not be flipped, as `never_flipped`.

    Only the list itself is changed: a flip inside of a composition, such as `OneOf`, is kept.
    """
    kept = [transform for transform in transforms if not isinstance(transform, _FLIPS)]
    return kept if len(kept) < len(transforms) and never_flipped(class_names, chosen) else list(transforms)

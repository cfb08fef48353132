"""Image and category ids of a COCO file, for results that are scored against it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vertebra.tasks.loading.coco.content import read_content


class CocoIds(NamedTuple):
    """Ids of predictions in the terms of an annotation file.

    Attributes:
        images: (I,) int64, id of each image.
        categories: (K,) int64, id of each class.
    """

    images: np.ndarray
    categories: np.ndarray


def match_coco_ids(file: Path, images: Sequence[str], class_names: Sequence[str]) -> CocoIds:
    """Return the ids that a COCO file has for images and classes.

    An image belongs to the entry whose file name its path ends with, a class to the category of its name.

    Args:
        file: the annotation file.
        images: paths of the images.
        class_names: the K classes.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it is not COCO's, or an image or class is not in it, or an image matches several entries.
    """
    content = read_content(file)
    by_stem: dict[str, list[tuple[tuple[str, ...], int]]] = {}
    for name, number in zip(content.file_names, content.image_ids, strict=True):
        parts = Path(os.path.normpath(name)).parts
        by_stem.setdefault(parts[-1], []).append((parts, number))
    ids = []
    for path in images:
        parts = Path(os.path.abspath(path)).parts
        # the longest match: `a/1.jpg` rather than `1.jpg`
        entries = by_stem.get(parts[-1], [])
        found = sorted(((len(own), number) for own, number in entries if parts[-len(own) :] == own), reverse=True)
        if not found or (len(found) > 1 and found[0][0] == found[1][0]):
            what = "has several images" if found else "has no image"
            example = f", such as {content.file_names[0]}" if content.file_names else ""
            raise ValueError(
                f"{file}: {what} that {path} can be, by its {len(content.file_names)} file names{example}; predict on "
                "the images that it lists, or leave --annotations out."
            )
        ids.append(found[0][1])
    number_of = {name: number for number, name in content.categories.items()}
    missing = [name for name in class_names if name not in number_of]
    if missing:
        raise ValueError(
            f"{file}: has no category {missing[0]!r}, which the model detects ({len(missing)} of {len(class_names)} "
            f"classes are missing); its categories are {', '.join(list(number_of)[:10])}. Rename its categories, or "
            "leave --annotations out."
        )
    return CocoIds(np.array(ids, dtype=np.int64), np.array([number_of[name] for name in class_names], dtype=np.int64))

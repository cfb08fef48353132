"""Unchecked annotations: what a reader takes from the files, the same for every format."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vertebra.tasks.detection.annotations.instances import Instances
from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.loading.files.image_headers import ImageHeader

NOT_A_BOX = (np.nan,) * 4  # NaN fails every comparison, so that no check takes it for a box


@dataclass(frozen=True)
class RawAnnotations:
    """Images and boxes in the order of the files, not checked yet.

    Attributes:
        class_names: the K classes.
        category_ids: (K,) int64, see `Annotations`.
        files: absolute paths of the I images.
        image_ids: (I,) int64, unique.
        sizes: (I, 2) int64, height and width as the annotations state them, 0 where they do not.
        headers: of the I image files; None where a file cannot be read.
        titles: name of each of the I images in faults.
        sources: the file that holds the boxes of each of the I images.
        image_of: (M,) int64 in 0..I-1, the image of each box.
        instances: the M objects. Their boxes are `NOT_A_BOX` where the file does not have four numbers, labels 0 where
            the category is not known, areas not positive or NaN where the file has none.
        in_fractions: whether boxes are in fractions of the image's width and height, or in pixels.
        no_boxes: why a box is `NOT_A_BOX`, by its index.
        categories: the M categories in the file's own words.
        unit: how the format calls the position of a box: `annotation`, `object`, `line`.
        positions: (M,) int64, the number of that position.
        outlines: of each of the M objects as COCO writes them, polygons or run lengths, nothing where it has none;
            polygons are in the unit of the boxes. None where no masks are wanted.
    """

    class_names: tuple[str, ...]
    category_ids: np.ndarray
    files: Sequence[str]
    image_ids: np.ndarray
    sizes: np.ndarray
    headers: Sequence[ImageHeader | None]
    titles: Sequence[str]
    sources: Sequence[str]
    image_of: np.ndarray
    instances: Instances
    in_fractions: bool
    no_boxes: Mapping[int, str]
    categories: Sequence[Any]
    unit: str
    positions: np.ndarray
    outlines: Sequence[Any] | None = None

    def fault(self, kind: str, box: int, message: str) -> Fault:
        """Return a fault of one box with its file, image and position."""
        image = self.image_of[box]
        return Fault(kind, self.sources[image], f"{self.titles[image]}, {self.unit} {self.positions[box]}: {message}")


def number_classes(
    categories: Iterable[tuple[int, str]], class_names: Sequence[str] | None
) -> tuple[tuple[str, ...], np.ndarray, dict[Any, int]]:
    """Number the classes 1..K: in the order of the categories, or as `class_names` does.

    Args:
        categories: (id, name) of each category of the file. Categories of one name are one class.
        class_names: names of the split that the network is trained on; None where this is that split.

    Returns:
        The names; (K,) int64, the file's id of each, -1 where the file does not have it; the label of each known id.
    """
    categories = list(categories)
    # a dict keeps the order, a set would not
    names = tuple(dict.fromkeys(name for _, name in categories)) if class_names is None else tuple(class_names)
    # from 1, since 0 is the background of a detector
    label_of_name = {name: label for label, name in enumerate(names, start=1)}
    label_of_id = {number: label_of_name[name] for number, name in categories if name in label_of_name}
    category_ids = np.full(len(names), -1, dtype=np.int64)
    for number, name in reversed(categories):  # the first of two ids stays
        if name in label_of_name:
            category_ids[label_of_name[name] - 1] = number
    return names, category_ids, label_of_id

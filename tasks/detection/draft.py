"""What a reader took from annotation files, before it is checked: the same for every format."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.loading.files.images import ImageHeader

NOT_A_BOX = (np.nan,) * 4
LARGEST_SIDE = 2**31 - 1  # pixels of a height or width that an annotation may state


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
        titles: what a fault calls each of the I images.
        sources: the file that holds the boxes of each of the I images.
        image_of: (M,) int64 in 0..I-1, the image of each box.
        boxes: (M, 4) float64, xyxy; `NOT_A_BOX` where the file does not have four numbers.
        in_fractions: whether boxes are in fractions of the image's width and height, or in pixels.
        no_boxes: why a box is `NOT_A_BOX`, by its number.
        labels: (M,) int64 in 1..K; 0 where the category is not known.
        categories: the M categories in the file's own words.
        crowd: (M,) bool.
        areas: (M,) float64, areas of the objects; not positive or NaN where the file does not say.
        annotation_ids: (M,) int64.
        unit: what the format calls the place of a box: `annotation`, `object`, `line`.
        places: (M,) int64, number of that place.
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
    boxes: np.ndarray
    in_fractions: bool
    no_boxes: Mapping[int, str]
    labels: np.ndarray
    categories: Sequence[Any]
    crowd: np.ndarray
    areas: np.ndarray
    annotation_ids: np.ndarray
    unit: str
    places: np.ndarray

    def fault(self, kind: str, box: int, message: str) -> Fault:
        """Tell a fault of one box with its file, image and place."""
        image = self.image_of[box]
        place = f"{self.titles[image]}, {self.unit} {self.places[box]}"
        return Fault(kind, self.sources[image], f"{place}: {message}")


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
    names = tuple(dict.fromkeys(name for _, name in categories)) if class_names is None else tuple(class_names)
    label_of_name = {name: label for label, name in enumerate(names, start=1)}
    label_of_id = {number: label_of_name[name] for number, name in categories if name in label_of_name}
    category_ids = np.full(len(names), -1, dtype=np.int64)
    for number, name in reversed(categories):  # the first of two ids stays
        if name in label_of_name:
            category_ids[label_of_name[name] - 1] = number
    return names, category_ids, label_of_id

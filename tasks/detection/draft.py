"""What a reader took from annotation files, and the checks that make `Annotations` of it: the same for every format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks import faults
from tasks.detection.annotations import Annotations
from tasks.faults import Fault

NOT_A_BOX = (np.nan,) * 4


@dataclass(frozen=True)
class Draft:
    """Images and boxes in the order of the files, not checked yet.

    Attributes:
        class_names: the K classes.
        category_ids: (K,) int64, see `Annotations`.
        files: absolute paths of the I images.
        image_ids: (I,) int64, unique.
        sizes: (I, 2) int64, height and width, 0 where not known.
        titles: what a fault calls each of the I images.
        sources: the file that holds the boxes of each of the I images.
        image_of: (M,) int64 in 0..I-1, the image of each box.
        boxes: (M, 4) float64, xyxy in pixels; `NOT_A_BOX` where the file does not have four numbers.
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
    titles: Sequence[str]
    sources: Sequence[str]
    image_of: np.ndarray
    boxes: np.ndarray
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


def finish(draft: Draft) -> tuple[Annotations, list[Fault]]:
    """Check the boxes, leave out those that mean nothing, clip the others to their image, sort them by image.

    An image whose size is not known clips nothing, and no box lies outside of it.
    """
    found = [*_repeated_files(draft)]
    boxes = draft.boxes
    known = draft.labels > 0
    for i in np.flatnonzero(~known).tolist():
        names = ", ".join(draft.class_names)
        found.append(
            draft.fault(faults.UNKNOWN_CATEGORY, i, f"category {draft.categories[i]!r} is not among: {names}.")
        )

    finite = np.isfinite(boxes).all(axis=1)
    solid = finite & (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    for i in np.flatnonzero(~finite).tolist():
        found.append(draft.fault(faults.DEGENERATE_BOX, i, "the box is not four finite numbers."))
    for i in np.flatnonzero(finite & ~solid).tolist():
        width, height = boxes[i, 2:] - boxes[i, :2]
        message = f"the box {_told(boxes[i])} is {width:g} wide and {height:g} high; both must be above 0."
        found.append(draft.fault(faults.DEGENERATE_BOX, i, message))

    sizes = draft.sizes[draft.image_of]  # (M, 2)
    sized = (sizes > 0).all(axis=1)
    limits = np.where(sized[:, None], sizes[:, [1, 0, 1, 0]], np.inf)
    lowest = np.where(sized, 0.0, -np.inf)[:, None]
    clipped = np.clip(boxes, lowest, limits)
    inside = (clipped[:, 2:] > clipped[:, :2]).all(axis=1)
    with np.errstate(invalid="ignore"):  # of the boxes that are not finite, and not solid either
        excess = np.abs(boxes - clipped).max(axis=1)
    for i in np.flatnonzero(solid & ~inside).tolist():
        message = f"the box {_told(boxes[i])} has nothing in common with its image of {_size(sizes[i])}."
        found.append(draft.fault(faults.OUTSIDE_BOX, i, message))
    for i in np.flatnonzero(
        solid & inside & (excess > 1)
    ).tolist():  # rounding puts many honest boxes a pixel over the border
        message = f"the box {_told(boxes[i])} sticks {excess[i]:g} pixels out of its image of {_size(sizes[i])}."
        found.append(draft.fault(faults.BOX_OVER_BORDER, i, message))

    kept = np.flatnonzero(known & solid & inside)
    kept = kept[np.argsort(draft.image_of[kept], kind="stable")]
    counts = np.bincount(draft.image_of[kept], minlength=len(draft.files))
    box_areas = (clipped[kept, 2] - clipped[kept, 0]) * (clipped[kept, 3] - clipped[kept, 1])
    annotations = Annotations(
        class_names=draft.class_names,
        category_ids=draft.category_ids,
        files=np.array(draft.files, dtype=np.str_),
        image_ids=draft.image_ids,
        sizes=draft.sizes,
        starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        boxes=clipped[kept],
        labels=draft.labels[kept],
        crowd=draft.crowd[kept],
        areas=np.where(draft.areas[kept] > 0, draft.areas[kept], box_areas),
        annotation_ids=draft.annotation_ids[kept],
    )
    return annotations, found


def _repeated_files(draft: Draft) -> Iterable[Fault]:
    counts = Counter(draft.files)
    if len(counts) == len(draft.files):
        return
    for file, source, title in zip(draft.files, draft.sources, draft.titles, strict=True):
        if (count := counts.pop(file, 1)) > 1:
            yield Fault(faults.DUPLICATE_FILE, source, f"{title} is listed {count} times; expected once.")


def _told(box: np.ndarray) -> str:
    return "(x1 {:g}, y1 {:g}, x2 {:g}, y2 {:g})".format(*box)


def _size(size: np.ndarray) -> str:
    return f"{size[1]} x {size[0]} pixels"

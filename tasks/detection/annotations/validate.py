"""Validation of raw annotations, the same for every format: drop, clip, sort, draw, and report every fault."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from vertebra.tasks.detection.annotations.annotations import Annotations
from vertebra.tasks.detection.annotations.orientation import Orientation, find_frames, turned
from vertebra.tasks.detection.annotations.outlines import draw_masks, turned_masks
from vertebra.tasks.detection.annotations.raw_annotations import RawAnnotations
from vertebra.tasks.loading.class_names import shortened
from vertebra.tasks.loading.files import faults
from vertebra.tasks.loading.files.faults import Fault


def validate(raw: RawAnnotations, orientation: Orientation | None = None) -> tuple[Annotations, list[Fault]]:
    """Check the boxes, drop those that cannot be used, clip the others to their image, sort them by image.

    Where there are outlines, an object without a pixel in its mask is dropped, too. An image whose size is not known
    clips nothing, and no box is outside of it. Boxes are checked in the frame in which they were drawn, and turned with
    their image afterwards.

    Args:
        raw: of a reader.
        orientation: in which frame the boxes of images with an EXIF rotation are, see `find_frames`.
    """
    frames, found = find_frames(
        raw.files, raw.sizes, raw.headers, raw.image_of, _in_pixels(raw, raw.sizes), orientation
    )
    found += _repeated_files(raw)
    boxes = _in_pixels(raw, frames.sizes)
    known = raw.instances.labels > 0
    names = shortened(raw.class_names)
    for i in np.flatnonzero(~known).tolist():
        message = f"category {raw.categories[i]!r:.80} is not among: {names}."
        found.append(raw.fault(faults.UNKNOWN_CATEGORY, i, message)._replace(class_name=str(raw.categories[i])))

    finite = np.isfinite(boxes).all(axis=1)
    solid = finite & (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    for i in np.flatnonzero(~finite).tolist():
        reason = raw.no_boxes.get(i, "the box is not four finite numbers.")
        found.append(raw.fault(faults.DEGENERATE_BOX, i, reason))
    for i in np.flatnonzero(finite & ~solid).tolist():
        width, height = boxes[i, 2:] - boxes[i, :2]
        message = f"the box {_corners(boxes[i])} is {width:g} wide and {height:g} high; both must be above 0."
        found.append(raw.fault(faults.DEGENERATE_BOX, i, message))

    sizes = frames.sizes[raw.image_of]  # (M, 2)
    sized = (sizes > 0).all(axis=1)
    limits = np.where(sized[:, None], sizes[:, [1, 0, 1, 0]], np.inf)
    lowest = np.where(sized, 0.0, -np.inf)[:, None]
    clipped = np.clip(boxes, lowest, limits)
    inside = (clipped[:, 2:] > clipped[:, :2]).all(axis=1)
    with np.errstate(invalid="ignore"):  # of the boxes that are not finite, and not solid either
        excess = np.abs(boxes - clipped).max(axis=1)
    for i in np.flatnonzero(solid & ~inside).tolist():
        message = f"the box {_corners(boxes[i])} has nothing in common with its image of {_size(sizes[i])}."
        found.append(raw.fault(faults.OUTSIDE_BOX, i, message + _unit_hint(raw, i)))
    over = solid & inside & (excess > 1)  # rounding puts many honest boxes a pixel over the border
    for i in np.flatnonzero(over).tolist():
        message = f"the box {_corners(boxes[i])} sticks {excess[i]:g} pixels out of its image of {_size(sizes[i])}."
        found.append(raw.fault(faults.BOX_OVER_BORDER, i, message + _unit_hint(raw, i)))

    usable = known & solid & inside
    drawn = None if raw.outlines is None else draw_masks(raw, frames, boxes)
    if drawn is not None:
        found += drawn.faults
        usable &= ~drawn.is_empty
    kept = np.flatnonzero(usable)
    kept = kept[np.argsort(raw.image_of[kept], kind="stable")]
    found += _repeated_boxes(raw, boxes, kept)
    counts = np.bincount(raw.image_of[kept], minlength=len(raw.files))
    instances, turns = raw.instances[kept], frames.turns[raw.image_of[kept]]
    final = turned(clipped[kept], sizes[kept], turns)
    masks = None if drawn is None else turned_masks(drawn.masks[kept], sizes[kept], turns)
    own_areas = (final[:, 2] - final[:, 0]) * (final[:, 3] - final[:, 1]) if masks is None else masks.areas()
    areas = np.where(instances.areas > 0, instances.areas, own_areas)
    annotations = Annotations(
        class_names=raw.class_names,
        category_ids=raw.category_ids,
        files=np.array(raw.files, dtype=np.str_),
        image_ids=raw.image_ids,
        sizes=frames.shown,
        starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        instances=replace(instances, boxes=final, areas=areas, masks=masks),
    )
    return annotations, found


def _in_pixels(raw: RawAnnotations, sizes: np.ndarray) -> np.ndarray:
    """Return the boxes (M, 4) in pixels of images of these sizes (I, 2)."""
    return raw.instances.boxes * sizes[raw.image_of][:, [1, 0, 1, 0]] if raw.in_fractions else raw.instances.boxes


def _repeated_files(raw: RawAnnotations) -> Iterator[Fault]:
    counts = Counter(raw.files)
    if len(counts) == len(raw.files):
        return
    for file, source, title in zip(raw.files, raw.sources, raw.titles, strict=True):
        if (count := counts.pop(file, 1)) > 1:
            yield Fault(faults.DUPLICATE_FILE, source, f"{title} is listed {count} times; expected once.")


def _repeated_boxes(raw: RawAnnotations, boxes: np.ndarray, kept: np.ndarray) -> Iterator[Fault]:
    """Find boxes that equal another one of their image, class included; crowds count by themselves."""
    instances = raw.instances[kept]
    columns = [raw.image_of[kept], instances.labels, instances.crowd, *boxes[kept].T]
    order = np.lexsort((kept, *columns))  # by the columns, equal boxes in the order of the file
    same = np.logical_and.reduce([column[order][1:] == column[order][:-1] for column in columns])
    first = 0
    for i in np.flatnonzero(same).tolist():
        if i == 0 or not same[i - 1]:
            first = int(kept[order[i]])
        repeated, label = int(kept[order[i + 1]]), instances.labels[order[i]]
        message = (
            f"the box {_corners(boxes[repeated])} of class {raw.class_names[label - 1]!r:.80} is the same as that of "
            f"{raw.unit} {raw.positions[first]}; expected once. Remove one of them."
        )
        yield raw.fault(faults.DUPLICATE_BOX, repeated, message)


def _unit_hint(raw: RawAnnotations, box: int) -> str:
    """Return what may be wrong with numbers that are no fractions."""
    if not raw.in_fractions or np.abs(raw.instances.boxes[box]).max() <= 2:
        return ""
    return " Its numbers look like pixels; expected are fractions of the image, in 0..1."


def _corners(box: np.ndarray) -> str:
    return "(x1 {:g}, y1 {:g}, x2 {:g}, y2 {:g})".format(*box)


def _size(size: np.ndarray) -> str:
    return f"{size[1]} x {size[0]} pixels"

"""Frames of an enhanced multi-frame file (CT, MR, PET) as the slices that they are.

What single files say in attributes of their own, an enhanced file says in functional groups, which frames share or
which each has for itself: DICOM PS3.3, C.7.6.16.
"""

from __future__ import annotations

from functools import partial

from pydicom import Dataset

from vertebra.tasks.medical.dicom_pixels import pixels_of
from vertebra.tasks.medical.dicom_stack import Slice
from vertebra.tasks.medical.dicom_tags import numbers, spacing_of, whole
from vertebra.tasks.medical.scans import UnreadableScan


def has_frames(dataset: Dataset) -> bool:
    """Tell whether a file describes its frames in functional groups."""
    return bool(dataset.get("PerFrameFunctionalGroupsSequence") or dataset.get("SharedFunctionalGroupsSequence"))


def slices_of(path: str, dataset: Dataset, frames: int) -> list[Slice]:
    """Return the frames of a file in the order that they are stored in; their pixels are decoded one by one.

    Args:
        path: of the file.
        dataset: what `dicom_pixels.check_pixels` has passed.
        frames: how many there are.

    Raises:
        UnreadableScan: a frame is not described, or its position is not given.
    """
    own = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])
    if len(own) != frames:
        raise UnreadableScan(
            f"{path}: holds {frames} images (NumberOfFrames), but describes {len(own)} "
            "(PerFrameFunctionalGroupsSequence); expected as many. Copy it again, or remove it from the data set."
        )
    shared = (list(dataset.get("SharedFunctionalGroupsSequence") or []) or [Dataset()])[0]
    return [_slice(path, dataset, number, (group, shared)) for number, group in enumerate(own)]


def _slice(path: str, dataset: Dataset, number: int, groups: tuple[Dataset, Dataset]) -> Slice:
    name = f"{path}: frame {number + 1}"
    position = numbers(name, _item(groups, "PlanePositionSequence"), "ImagePositionPatient", 3)
    orientation = numbers(name, _item(groups, "PlaneOrientationSequence"), "ImageOrientationPatient", 6)
    spacing = spacing_of(name, _item(groups, "PixelMeasuresSequence"), "PixelSpacing")
    transformation = _item(groups, "PixelValueTransformationSequence")
    return Slice(
        name=f"frame {number + 1}",
        size=(whole(path, dataset, "Rows"), whole(path, dataset, "Columns")),
        position=position,
        orientation=orientation,
        spacing=spacing,
        pixels=partial(pixels_of, path, dataset, number, transformation if len(transformation) else None),
        identity=None,
    )


def _item(groups: tuple[Dataset, Dataset], keyword: str) -> Dataset:
    """Return the item of a functional group, of the frame itself or else of all frames, empty where there is none."""
    for group in groups:
        items = group.get(keyword)
        if items:
            return items[0]
    return Dataset()

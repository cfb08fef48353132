"""Enhanced multi-frame DICOM (CT, MR, PET): frames as slices of a volume.

Position, orientation, spacing and rescaling are stored in functional groups instead of top-level attributes, either
shared by all frames or per frame: DICOM PS3.3, C.7.6.16.
"""

from __future__ import annotations

from functools import partial

from pydicom import Dataset

from vertebra.tasks.medical.dicom_pixels import decode_frame
from vertebra.tasks.medical.dicom_stack import Slice
from vertebra.tasks.medical.dicom_tags import float_values, pixel_spacing, positive_int
from vertebra.tasks.medical.scans import UnreadableScan


def has_functional_groups(dataset: Dataset) -> bool:
    """Return whether a file is enhanced multi-frame DICOM."""
    return bool(dataset.get("PerFrameFunctionalGroupsSequence") or dataset.get("SharedFunctionalGroupsSequence"))


def frame_slices(path: str, dataset: Dataset, frames: int) -> list[Slice]:
    """Return the frames of a file in stored order; pixels are decoded lazily, one frame at a time.

    Args:
        path: file path, for messages.
        dataset: data set that has passed `dicom_pixels.check_pixels`.
        frames: number of frames.

    Raises:
        UnreadableScan: a frame has no functional group, or an attribute is malformed.
    """
    per_frame = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])
    if len(per_frame) != frames:
        raise UnreadableScan(
            f"{path}: holds {frames} images (NumberOfFrames), but has {len(per_frame)} functional groups "
            "(PerFrameFunctionalGroupsSequence); expected one per image. Copy the file again, or remove it from the "
            "data set."
        )
    # absent if nothing is shared; at most one item
    shared = (list(dataset.get("SharedFunctionalGroupsSequence") or []) or [Dataset()])[0]
    return [_slice(path, dataset, index, (group, shared)) for index, group in enumerate(per_frame)]


def _slice(path: str, dataset: Dataset, index: int, groups: tuple[Dataset, Dataset]) -> Slice:
    name = f"{path}: frame {index + 1}"  # DICOM counts frames from 1
    position = float_values(name, _item(groups, "PlanePositionSequence"), "ImagePositionPatient", 3)
    orientation = float_values(name, _item(groups, "PlaneOrientationSequence"), "ImageOrientationPatient", 6)
    spacing = pixel_spacing(name, _item(groups, "PixelMeasuresSequence"), "PixelSpacing")
    transformation = _item(groups, "PixelValueTransformationSequence")
    return Slice(
        name=f"frame {index + 1}",
        size=(positive_int(path, dataset, "Rows"), positive_int(path, dataset, "Columns")),
        position=position,
        orientation=orientation,
        spacing=spacing,
        # without a group of its own, slope and intercept are top-level attributes
        pixels=partial(decode_frame, path, dataset, index, transformation if len(transformation) else None),
        # SOPInstanceUID identifies the file, and so cannot tell frames apart
        uid=None,
    )


def _item(groups: tuple[Dataset, Dataset], keyword: str) -> Dataset:
    """Return the item of a functional group: per-frame first, then shared, else an empty data set."""
    for group in groups:
        items = group.get(keyword)
        if items:
            return items[0]
    return Dataset()

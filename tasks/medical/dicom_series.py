"""DICOM series: the volume of a folder with one file per slice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from pydicom import Dataset

from vertebra.tasks.medical.dicom import read_dicom
from vertebra.tasks.medical.dicom_file import dicom_files, open_dicom
from vertebra.tasks.medical.dicom_pixels import check_pixels, decode_frame
from vertebra.tasks.medical.dicom_stack import Slice, stack_slices
from vertebra.tasks.medical.dicom_tags import float_values, pixel_spacing, positive_int
from vertebra.tasks.medical.scans import Scan, UnreadableScan


def read_series(folder: str) -> Scan:
    """Read the series in a folder; files that are not DICOM or hold no image are ignored.

    A folder with a single image file gives that image, or the volume of an enhanced multi-frame file.

    Raises:
        UnreadableScan: the folder holds no series or several, or its slices do not form one volume: the message names
            the slices.
    """
    datasets = [(file, open_dicom(file)) for file in dicom_files(folder)]
    images = [(file, dataset) for file, dataset in datasets if _is_image(dataset)]
    # a truncated slice is an error, not a file to ignore: at the end of a stack it would leave no gap
    for file, dataset in images:
        if "Rows" not in dataset:
            raise UnreadableScan(
                f"{file}: ends before its pixels. Copy the file again, or remove it from the data set."
            )
    if not images:
        raise UnreadableScan(
            f"{folder}: holds no DICOM image ({len(datasets)} DICOM files); expected a series. Fix the path."
        )
    # a localizer or a second reconstruction in the folder would mix with the slices
    _check_single(folder, images)
    if len(images) == 1:
        return read_dicom(images[0][0])._replace(name=folder)
    return stack_slices(folder, [_slice(file, dataset) for file, dataset in images])


def is_stack(files: Sequence[str]) -> bool:
    """Return whether the DICOM files of a folder are slices of a volume.

    Decided by the first valid image: X-rays have no `ImagePositionPatient`.
    """
    for file in files if len(files) > 1 else ():
        try:
            dataset = open_dicom(file)
            if "Rows" in dataset:
                return float_values(file, dataset, "ImagePositionPatient", 3) is not None
        except UnreadableScan:  # reported later, by `read_series` or by `read_dicom`
            continue
    return False


def _is_image(dataset: Dataset) -> bool:
    """Return whether a file is an image, even a truncated one, as opposed to a report or a plan."""
    return "Rows" in dataset or "SOPClassUID" not in dataset or "Image Storage" in dataset.SOPClassUID.name


def _check_single(folder: str, images: Sequence[tuple[str, Dataset]]) -> None:
    files = defaultdict(list)
    for file, dataset in images:
        files[str(dataset.get("SeriesInstanceUID"))].append(Path(file).name)
    if len(files) > 1:
        found = "; ".join(f"{uid}: {len(names)} files ({names[0]}, ...)" for uid, names in files.items())
        raise UnreadableScan(
            f"{folder}: holds {len(files)} series, {found}; expected one. Move each to its own folder."
        )


def _slice(file: str, dataset: Dataset) -> Slice:
    frames = check_pixels(file, dataset)
    if frames > 1:
        raise UnreadableScan(
            f"{file}: holds {frames} images next to other files of its series; expected one image per file, or a "
            "single file. Move it to its own folder."
        )
    return Slice(
        name=Path(file).name,
        size=(positive_int(file, dataset, "Rows"), positive_int(file, dataset, "Columns")),
        position=float_values(file, dataset, "ImagePositionPatient", 3),
        orientation=float_values(file, dataset, "ImageOrientationPatient", 6),
        spacing=pixel_spacing(file, dataset, "PixelSpacing"),
        # decoded lazily: all headers are validated before the first slice is decoded
        pixels=partial(decode_frame, file, dataset),
        uid=dataset.get("SOPInstanceUID"),
    )

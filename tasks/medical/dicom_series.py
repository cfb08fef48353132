"""A volume from the files of a DICOM series, one slice each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from pydicom import Dataset

from vertebra.tasks.medical.dicom import read_dicom
from vertebra.tasks.medical.dicom_file import dicom_files, open_dicom
from vertebra.tasks.medical.dicom_pixels import check_pixels, pixels_of
from vertebra.tasks.medical.dicom_stack import Slice, stacked
from vertebra.tasks.medical.dicom_tags import numbers, spacing_of, whole
from vertebra.tasks.medical.scans import Scan, UnreadableScan


def read_series(folder: str) -> Scan:
    """Read the series of a folder; files that are not DICOM, or hold no pixels, do not count.

    A folder with a single file is that image, or the volume of an enhanced file.

    Raises:
        UnreadableScan: the folder holds no series or several, or its slices do not make one volume: the message names
            the slices.
    """
    datasets = [(file, open_dicom(file)) for file in dicom_files(folder)]
    images = [(file, dataset) for file, dataset in datasets if _is_image(dataset)]
    for file, dataset in images:
        if "Rows" not in dataset:
            raise UnreadableScan(f"{file}: ends before its pixels. Copy it again, or remove it from the data set.")
    if not images:
        raise UnreadableScan(f"{folder}: holds no DICOM image ({len(datasets)} DICOM files). Fix the path.")
    _check_single(folder, images)
    if len(images) == 1:
        return read_dicom(images[0][0])._replace(name=folder)
    return stacked(folder, [_slice(file, dataset) for file, dataset in images])


def is_stack(files: Sequence[str]) -> bool:
    """Tell whether the DICOM files of a folder are slices of a volume, by its first sound image: X-rays lie nowhere."""
    for file in files if len(files) > 1 else ():
        try:
            dataset = open_dicom(file)
            if "Rows" in dataset:
                return numbers(file, dataset, "ImagePositionPatient", 3) is not None
        except UnreadableScan:  # which `read_series` reports, or `read_dicom` of a folder without stacks
            continue
    return False


def _is_image(dataset: Dataset) -> bool:
    """Tell whether a file is of an image, even if it is truncated, and not a report or a plan."""
    return "Rows" in dataset or "SOPClassUID" not in dataset or "Image Storage" in dataset.SOPClassUID.name


def _check_single(folder: str, images: Sequence[tuple[str, Dataset]]) -> None:
    files = defaultdict(list)
    for file, dataset in images:
        files[str(dataset.get("SeriesInstanceUID"))].append(Path(file).name)
    if len(files) > 1:
        found = "; ".join(f"{uid}: {len(names)} files ({names[0]}, ...)" for uid, names in files.items())
        raise UnreadableScan(f"{folder}: holds {len(files)} series, {found}. Put each into a folder of its own.")


def _slice(file: str, dataset: Dataset) -> Slice:
    frames = check_pixels(file, dataset)
    if frames > 1:
        raise UnreadableScan(
            f"{file}: holds {frames} images beside other files of its series; expected one a file, or a single file. "
            "Put it into a folder of its own."
        )
    return Slice(
        name=Path(file).name,
        size=(whole(file, dataset, "Rows"), whole(file, dataset, "Columns")),
        position=numbers(file, dataset, "ImagePositionPatient", 3),
        orientation=numbers(file, dataset, "ImageOrientationPatient", 6),
        spacing=spacing_of(file, dataset, "PixelSpacing"),
        pixels=partial(pixels_of, file, dataset),
        identity=dataset.get("SOPInstanceUID"),
    )

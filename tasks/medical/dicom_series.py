"""A volume from the files of a DICOM series, one slice each, and never from some of them.

The slices are sorted by where they lie, and what does not make one even stack is refused: MONAI's reader goes by the
numbers of the images, and stacks slices of several series, or on both sides of a gap, as if they were neighbours.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydicom import Dataset
from pydicom.misc import is_dicom

from tasks.medical.dicom import open_dicom, pixels_of, read_dicom
from tasks.medical.orientation import oriented
from tasks.medical.scans import DICOM_SUFFIXES, Scan, UnreadableScan

TOLERANCE = 0.1  # part of the usual spacing that a slice may be off: positions are written with few digits
_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # DICOM counts to the left and to the back


class _Slice(NamedTuple):
    """A file of the series, and where its first pixel lies, in mm (LPS)."""

    file: str
    dataset: Dataset
    position: np.ndarray


def read_series(folder: str) -> Scan:
    """Read the series of a folder; files that are not DICOM, or hold no pixels, do not count.

    A folder with a single image is that image.

    Raises:
        UnreadableScan: the folder holds no series or several, or its slices do not make one volume: the message names
            the slices.
    """
    datasets = [(file, open_dicom(file)) for file in dicom_files(folder)]
    images = [(file, dataset) for file, dataset in datasets if "Rows" in dataset]
    if not images:
        raise UnreadableScan(f"{folder}: holds no DICOM image ({len(datasets)} DICOM files). Mend the path.")
    _check_single(folder, images)
    if len(images) == 1:
        return read_dicom(images[0][0])._replace(name=folder)
    slices = [_Slice(file, dataset, _position(folder, file, dataset)) for file, dataset in images]
    _check_alike(folder, slices)
    right, down = np.array(slices[0].dataset.ImageOrientationPatient, dtype=np.float64).reshape(2, 3)
    normal = np.cross(right, down)
    slices.sort(key=lambda one: float(one.position @ normal))
    _check_even(folder, slices, normal)

    rows, columns = (float(size) for size in slices[0].dataset.PixelSpacing)  # from row to row, from column to column
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = right * columns, down * rows
    affine[:3, 2] = (slices[-1].position - slices[0].position) / (len(slices) - 1)
    affine[:3, 3] = slices[0].position
    stack = np.stack([_gray(one) for one in slices])  # (Z, Y, X)
    return oriented(folder, stack.transpose(2, 1, 0), _TO_RAS @ affine)


def dicom_files(folder: str) -> list[str]:
    """List the DICOM files that lie in a folder itself, in the order of their names; they need no suffix."""
    files = [os.path.join(folder, name) for name in sorted(os.listdir(folder)) if not name.startswith(".")]
    return [
        file
        for file in files
        if os.path.isfile(file)
        and Path(file).name.upper() != "DICOMDIR"  # a list of files
        and (Path(file).suffix.lower() in DICOM_SUFFIXES or is_dicom(file))
    ]


def is_stack(files: Sequence[str]) -> bool:
    """Tell whether the DICOM files of a folder are slices of a volume, by its first image: X-rays lie nowhere."""
    if len(files) > 1:
        for dataset in map(open_dicom, files):
            if "Rows" in dataset:
                return bool(dataset.get("ImagePositionPatient"))
    return False


def _check_single(folder: str, images: Sequence[tuple[str, Dataset]]) -> None:
    files = defaultdict(list)
    for file, dataset in images:
        files[str(dataset.get("SeriesInstanceUID"))].append(Path(file).name)
    if len(files) > 1:
        told = "; ".join(f"{uid}: {len(names)} files ({names[0]}, ...)" for uid, names in files.items())
        raise UnreadableScan(f"{folder}: holds {len(files)} series, {told}. Put each into a folder of its own.")


def _position(folder: str, file: str, dataset: Dataset) -> np.ndarray:
    missing = [
        name
        for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
        if not dataset.get(name)  # a tag may be there and empty
    ]
    if missing:
        raise UnreadableScan(
            f"{folder}: {Path(file).name} has no {', '.join(missing)}, so nobody knows where it lies among the others. "
            "Name single files instead of the folder."
        )
    return np.array(dataset.ImagePositionPatient, dtype=np.float64)


def _check_alike(folder: str, slices: Sequence[_Slice]) -> None:
    """Refuse slices of different sizes, spacings or orientations; the odd one is named, and not the many others."""
    for name in ("Rows", "Columns", "PixelSpacing", "ImageOrientationPatient"):
        values = [tuple(np.array(one.dataset[name].value, dtype=np.float64).ravel().tolist()) for one in slices]
        usual = Counter(values).most_common(1)[0][0]
        for one, value in zip(slices, values, strict=True):
            if not np.allclose(value, usual, rtol=0, atol=1e-3):
                other = slices[values.index(usual)]
                raise UnreadableScan(
                    f"{folder}: its slices differ: {Path(one.file).name} has {name} {one.dataset[name].value}, "
                    f"{Path(other.file).name} has {other.dataset[name].value}. Take out the one that does not belong "
                    "there."
                )


def _check_even(folder: str, slices: Sequence[_Slice], normal: np.ndarray) -> None:
    """Refuse slices (sorted) that lie at one place, leave a gap, or are shifted against each other."""
    steps = np.diff([one.position @ normal for one in slices])
    closest = int(steps.argmin())
    if steps[closest] < 1e-3:
        names = " and ".join(Path(one.file).name for one in slices[closest : closest + 2])
        raise UnreadableScan(
            f"{folder}: {names} lie {steps[closest]:.3g} mm apart: they are two images of one place, such as two times "
            "or echoes of one series. Keep one of them, or put each into a folder of its own."
        )
    # the lower median: of two steps, one over a gap, it is the other
    usual = float(np.sort(steps)[(len(steps) - 1) // 2])
    line = (slices[-1].position - slices[0].position) / float(steps.sum())
    for step, (below, above) in zip(steps.tolist(), pairwise(slices), strict=True):
        between = f"{folder}: between {Path(below.file).name} and {Path(above.file).name}"
        if step > 1.5 * usual:
            gone = round(step / usual) - 1
            slices_are = "slice is" if gone == 1 else "slices are"
            raise UnreadableScan(
                f"{between} lie {step:.6g} mm, elsewhere {usual:.6g} mm: {gone} {slices_are} missing. Put the missing "
                "files there."
            )
        if abs(step - usual) > TOLERANCE * usual:
            raise UnreadableScan(
                f"{between} lie {step:.6g} mm, elsewhere {usual:.6g} mm: the spacing is mixed. Export the series anew "
                "with even spacing."
            )
        if np.abs(above.position - below.position - step * line).max() > TOLERANCE * max(usual, 1.0):
            raise UnreadableScan(
                f"{between} the image is shifted sideways, from {below.position.tolist()} to {above.position.tolist()} "
                "mm. Export the series anew, with its images behind each other."
            )


def _gray(one: _Slice) -> np.ndarray:
    pixels = pixels_of(one.dataset, one.file)
    if len(pixels) > 1:
        raise UnreadableScan(f"{one.file}: is in colour; the slices of a volume are gray. Convert it.")
    return pixels[0]

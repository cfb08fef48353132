"""One scan, whatever its file: a volume lies as a patient does, an image as a viewer shows it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vertebra.tasks.loading.files.faults import UnreadableFile
from vertebra.tasks.loading.files.images import IMAGE_SUFFIXES

NIFTI_SUFFIXES = (".nii", ".nii.gz")
DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")  # which a DICOM file may have, or none at all


class UnreadableScan(UnreadableFile):
    """A scan that is missing, empty, cut short, incomplete or none at all; the message says which."""


class Grid(NamedTuple):
    """Where the voxels of a file lie in the patient.

    Attributes:
        shape: voxels along the axes (x, y, z) of the file: of NIfTI as stored, of DICOM columns, rows and slices.
        affine: (4, 4) float64, from indices along these axes to mm to the right, to the front and up (RAS+).
    """

    shape: tuple[int, int, int]
    affine: np.ndarray


class Scan(NamedTuple):
    """Pixels of one image or volume.

    The axis of channels is always there: without it nobody could tell an image in colour from a volume of three slices.

    Attributes:
        name: path of the file or folder, or what it is called by.
        pixels: (C, H, W) or (C, D, H, W) float32, finite, as the file means them (Hounsfield units of CT); C is 1, or
            3 of an image in colour. Of a volume D runs from the feet to the head, H from the front to the back and W
            from the patient's right to the left (axcodes S, P, L).
        spacing: mm from pixel to pixel along H and W, or D, H and W; None where the file does not tell.
        affine: (4, 4) float64, from the indices (d, h, w) to mm (RAS+); None where the file does not tell.
        grid: the voxels as they are in the file, for what goes back there; None where the file does not tell.
    """

    name: str
    pixels: np.ndarray
    spacing: tuple[float, ...] | None = None
    affine: np.ndarray | None = None
    grid: Grid | None = None


def read_scan(path: str | os.PathLike[str]) -> Scan:
    """Read NIfTI (`.nii`, `.nii.gz`), a DICOM file, a folder of the slices of a DICOM series, or an image file.

    Raises:
        UnreadableScan: the file is missing, broken or of another kind; a series lacks a slice or has mixed spacing,
            size or orientation; a pixel is not a finite number; or the scan does not fit into memory.
    """
    try:
        return finite(_read(os.fspath(path)))
    except MemoryError as error:
        raise UnreadableScan(
            f"{os.fspath(path)}: does not fit into the memory that is free. Use fewer loader processes "
            "(data.num_workers), or crop or resample the scan."
        ) from error


def _read(name: str) -> Scan:
    # here, since a task reads files of one kind and need not have the libraries of the others
    from vertebra.tasks.medical.dicom import read_dicom
    from vertebra.tasks.medical.dicom_series import read_series
    from vertebra.tasks.medical.nifti import read_nifti
    from vertebra.tasks.medical.pictures import read_picture

    if os.path.isdir(name):
        return read_series(name)
    if not os.path.exists(name):
        raise UnreadableScan(f"{name}: does not exist. Put the file there, or mend the path.")
    if not os.path.isfile(name):
        raise UnreadableScan(f"{name}: is neither a file nor a folder. Fix the path.")
    if not os.path.getsize(name):
        raise UnreadableScan(f"{name}: is empty (0 bytes). Copy it again.")
    if name.lower().endswith(NIFTI_SUFFIXES):
        return read_nifti(name)
    if Path(name).suffix.lower() in IMAGE_SUFFIXES:
        return read_picture(name)
    return read_dicom(name)


def finite(scan: Scan) -> Scan:
    """Return the scan, all of whose pixels are numbers.

    Raises:
        UnreadableScan: there is a pixel that is NaN or infinite.
    """
    # the sum of finite float32 is finite in float64, and takes no memory for a mask
    if np.isfinite(scan.pixels.sum(dtype=np.float64)):
        return scan
    broken = ~np.isfinite(scan.pixels)
    where = ", ".join(map(str, np.argwhere(broken)[0, 1:].tolist()))
    raise UnreadableScan(
        f"{scan.name}: {broken.sum()} of {broken.size} pixels are NaN or infinite, the first at ({where}). Give them "
        "the value of the background, or take the file out of the data set."
    )

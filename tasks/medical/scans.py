"""Scans in memory: pixels, spacing and position, the same for every file format."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vertebra.tasks.loading.files.faults import UnreadableFile

NIFTI_SUFFIXES = (".nii", ".nii.gz")
DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")  # which a DICOM file may have, or none at all
SCAN_SUFFIXES = (*NIFTI_SUFFIXES, *DICOM_SUFFIXES)


class UnreadableScan(UnreadableFile):
    """A scan that is missing, empty, cut short, incomplete or none at all; the message says which."""


class Grid(NamedTuple):
    """Position of the voxels of a file in the patient.

    Attributes:
        shape: voxels along the axes (x, y, z) of the file: of NIfTI as stored, of DICOM columns, rows and slices.
        affine: (4, 4) float64, from indices along these axes to mm to the right, to the front and up (RAS+).
    """

    shape: tuple[int, int, int]
    affine: np.ndarray


class Scan(NamedTuple):
    """Pixels of one image or volume.

    The axis of channels is always there: without it an image in color could be a volume of three slices.

    Attributes:
        name: path of the file or folder, or another name.
        pixels: (C, H, W) or (C, D, H, W) float32, finite, as the file means them (Hounsfield units of CT); C is 1, or
            3 of an image in color. Of a volume D runs from the feet to the head, H from the front to the back and W
            from the patient's right to the left (axcodes S, P, L).
        spacing: mm from pixel to pixel along H and W, or D, H and W; None where the file does not say.
        affine: (4, 4) float64, from the indices (d, h, w) to mm (RAS+); None where the file does not say.
        grid: the voxels as they are in the file, for what goes back there; None where the file does not say.
    """

    name: str
    pixels: np.ndarray
    spacing: tuple[float, ...] | None = None
    affine: np.ndarray | None = None
    grid: Grid | None = None


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

"""In-memory scans: pixels, spacing and affine, independent of the file format."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vertebra.tasks.loading.files.faults import UnreadableFile

NIFTI_SUFFIXES = (".nii", ".nii.gz")
DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")  # optional: many DICOM files have no suffix
SCAN_SUFFIXES = (*NIFTI_SUFFIXES, *DICOM_SUFFIXES)


class UnreadableScan(UnreadableFile):
    """A scan that is missing, empty, truncated, incomplete or not a scan."""


class Grid(NamedTuple):
    """Voxel grid of a file in patient space.

    Attributes:
        shape: voxels along the axes (x, y, z) of the file: of NIfTI as stored, of DICOM columns, rows and slices.
        affine: (4, 4) float64, from indices along these axes to mm (RAS+).
    """

    shape: tuple[int, int, int]
    affine: np.ndarray


class Scan(NamedTuple):
    """One image or volume.

    The channel axis is always present; without it a color image and a volume of three slices have the same shape.

    Attributes:
        name: path of the file or folder, or another identifier.
        pixels: (C, H, W) or (C, D, H, W) float32, finite, rescaled (Hounsfield units of CT); C is 1, or 3 of a color
            image. Of a volume D runs from feet to head, H from front to back and W from the patient's right to left
            (axis codes S, P, L).
        spacing: mm per pixel along H and W, or D, H and W; None if unknown.
        affine: (4, 4) float64, from indices (d, h, w) to mm (RAS+); None if unknown.
        grid: voxel grid of the file, to write maps in its space; None if unknown.
    """

    name: str
    pixels: np.ndarray
    spacing: tuple[float, ...] | None = None
    affine: np.ndarray | None = None
    grid: Grid | None = None


def finite(scan: Scan) -> Scan:
    """Return the scan if all of its pixels are finite.

    Raises:
        UnreadableScan: a pixel is NaN or infinite.
    """
    # the float64 sum of finite float32 values is finite; unlike isfinite it allocates no mask
    if np.isfinite(scan.pixels.sum(dtype=np.float64)):
        return scan
    is_broken = ~np.isfinite(scan.pixels)
    # without the channel axis: indices as a viewer shows them
    where = ", ".join(map(str, np.argwhere(is_broken)[0, 1:].tolist()))
    raise UnreadableScan(
        f"{scan.name}: {is_broken.sum()} of {is_broken.size} pixels are NaN or infinite, the first at ({where}). Set "
        "them to the background value, or remove the file from the data set."
    )

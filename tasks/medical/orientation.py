"""Reorientation of volumes between the axes of the file and of the patient."""

from __future__ import annotations

import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform

from vertebra.tasks.medical.scans import Grid, Scan, UnreadableScan
from vertebra.tasks.medical.shear import remove_shear

_AXES = axcodes2ornt(("S", "P", "L"))
_LENGTHS = (1e-4, 100.0)  # mm, plausible voxel sizes: from microscopy to beyond any scanner


def reorient(name: str, voxels: np.ndarray, affine: np.ndarray) -> Scan:
    """Permute and flip the axes of a volume to S, P, L (feet to head, front to back, right to left).

    Oblique axes map to the nearest ones, without interpolation; the affine keeps their directions. Only the shear of a
    tilted gantry is resampled, see `shear.remove_shear`.

    Args:
        name: file path, for messages.
        voxels: (X, Y, Z).
        affine: (4, 4), from indices (x, y, z) to mm (RAS+).

    Raises:
        UnreadableScan: the affine is singular, its shear is too large, or the voxel size is implausible.
    """
    affine = np.asarray(affine, dtype=np.float64)
    if not np.isfinite(affine).all() or np.linalg.matrix_rank(affine[:3, :3]) < 3:
        raise UnreadableScan(
            f"{name}: its affine {np.round(affine[:3], 3).tolist()} is singular or not finite; expected three "
            "independent axes. Write the file again with an orientation and a spacing."
        )
    lengths = voxel_sizes(affine)
    if lengths.min() < _LENGTHS[0] or lengths.max() > _LENGTHS[1]:
        raise UnreadableScan(
            f"{name}: has voxels of {' x '.join(f'{size:.3g}' for size in lengths)} mm; expected {_LENGTHS[0]:g} to "
            f"{_LENGTHS[1]:g} mm. Write the file again with the right spacing and unit of length."
        )
    # first of all: axis codes are ambiguous while axes are sheared
    voxels, affine = remove_shear(name, voxels, affine)
    transform = ornt_transform(io_orientation(affine), _AXES)
    patient_affine = affine @ inv_ornt_aff(transform, voxels.shape)
    # a contiguous copy: flips and transposes are views that every later step would walk backward
    pixels = np.ascontiguousarray(apply_orientation(voxels, transform), dtype=np.float32)[None]
    grid = Grid((voxels.shape[0], voxels.shape[1], voxels.shape[2]), affine)
    return Scan(name, pixels, tuple(float(size) for size in voxel_sizes(patient_affine)), patient_affine, grid)


def to_file_axes(volume: np.ndarray, grid: Grid) -> np.ndarray:
    """Permute and flip a volume (D, H, W) along S, P, L back to (X, Y, Z) along the axes of the file."""
    return np.ascontiguousarray(apply_orientation(volume, ornt_transform(_AXES, io_orientation(grid.affine))))

"""Turn a volume from the axes of its file to those of the patient, and back."""

from __future__ import annotations

import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform

from vertebra.tasks.medical.scans import Grid, Scan, UnreadableScan
from vertebra.tasks.medical.shear import straightened

_AXES = axcodes2ornt(("S", "P", "L"))
_LENGTHS = (1e-4, 100.0)  # mm that a voxel may have: from a microscope's to more than any scanner's


def oriented(name: str, voxels: np.ndarray, affine: np.ndarray) -> Scan:
    """Return a volume along the axes S, P and L, which are exchanged and flipped.

    Oblique axes go to the nearest ones, without interpolation; the affine keeps their directions. Only axes that are
    not at right angles, of a tilted gantry, are interpolated, see `shear.straightened`.

    Args:
        name: path of the file.
        voxels: (X, Y, Z).
        affine: (4, 4), from the indices (x, y, z) to mm (RAS+).

    Raises:
        UnreadableScan: the affine is not invertible, its axes are far from right angles, or a voxel is smaller or
            larger than any scanner's.
    """
    affine = np.asarray(affine, dtype=np.float64)
    if not np.isfinite(affine).all() or np.linalg.matrix_rank(affine[:3, :3]) < 3:
        raise UnreadableScan(
            f"{name}: its affine {np.round(affine[:3], 3).tolist()} does not tell where voxels lie: two of its axes "
            "are one, or have no length. Write the file again with an orientation and a spacing."
        )
    lengths = voxel_sizes(affine)
    if lengths.min() < _LENGTHS[0] or lengths.max() > _LENGTHS[1]:
        raise UnreadableScan(
            f"{name}: has voxels of {' x '.join(f'{size:.3g}' for size in lengths)} mm; expected {_LENGTHS[0]:g} to "
            f"{_LENGTHS[1]:g} mm. Write the file again with the right spacing and unit of length."
        )
    voxels, affine = straightened(name, voxels, affine)
    turn = ornt_transform(io_orientation(affine), _AXES)
    turned = affine @ inv_ornt_aff(turn, voxels.shape)
    pixels = np.ascontiguousarray(apply_orientation(voxels, turn), dtype=np.float32)[None]
    grid = Grid((voxels.shape[0], voxels.shape[1], voxels.shape[2]), affine)
    return Scan(name, pixels, tuple(float(size) for size in voxel_sizes(turned)), turned, grid)


def restored(volume: np.ndarray, grid: Grid) -> np.ndarray:
    """Return a volume (D, H, W) along S, P and L as (X, Y, Z) along the axes of the file."""
    return np.ascontiguousarray(apply_orientation(volume, ornt_transform(_AXES, io_orientation(grid.affine))))

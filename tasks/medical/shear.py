"""Gantry tilt correction: removal of the shear of a volume.

With a tilted gantry, CT slices are parallel but shifted in their planes by a constant step. Stacked without correction,
the anatomy is sheared, and the step between slice origins is longer than the distance of the planes.
"""

from __future__ import annotations

import numpy as np

from vertebra.tasks.medical.scans import UnreadableScan

_MIN_SHIFT = 0.5  # pixels over the whole volume; smaller shifts are rounding errors of positions
_MAX_TILT = 45.0  # degrees; gantries tilt by at most 30
_MAX_GROWTH = 4.0  # ratio of voxels after and before


def remove_shear(name: str, voxels: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shift slices in their planes, by linear interpolation along one axis at a time, until the axes are orthogonal.

    The xy planes keep their orientation: the new third axis is their normal, with the distance of the planes as step.
    The volume grows to hold all input voxels; new voxels get the minimum of the scan.

    Args:
        name: file path, for messages.
        voxels: (X, Y, Z).
        affine: (4, 4) float64, invertible, from indices (x, y, z) to mm.

    Returns:
        Voxels and affine; unchanged if the axes are orthogonal.

    Raises:
        UnreadableScan: the shear is too large.
    """
    # affine = rotation @ shear with shear upper triangular: x is kept, y is sheared along x, z along x and y
    rotation, shear = np.linalg.qr(affine[:3, :3])
    signs = np.sign(np.diag(shear))  # QR is unique only up to signs; steps must be positive
    rotation, shear = rotation * signs, shear * signs[:, None]
    steps = np.diag(shear)
    slope = shear / steps[:, None]  # shift in pixels along the row's axis, per index along the column's axis
    shift = np.abs(slope - np.eye(3)) * (np.array(voxels.shape) - 1)
    if shift.max() < _MIN_SHIFT:
        return voxels, affine
    lengths = np.linalg.norm(shear, axis=0)
    sine = float((np.sqrt((np.triu(shear, 1) ** 2).sum(axis=0)) / lengths).max())
    tilt = float(np.degrees(np.arcsin(min(sine, 1.0))))
    growth = float(np.prod((np.array(voxels.shape) + shift.sum(axis=1)) / voxels.shape))
    if tilt > _MAX_TILT or growth > _MAX_GROWTH:
        raise UnreadableScan(
            f"{name}: its axes are {tilt:.0f} degrees off right angles, and the corrected volume would be "
            f"{growth:.1f} times as large; expected a gantry tilt of at most {_MAX_TILT:.0f} degrees, and at most "
            f"{_MAX_GROWTH:g} times. Write the file again with the right orientation, or resample it."
        )
    fill = float(voxels.min())  # background: air of CT, 0 of most MR
    out, start_y = _shift_lines(voxels, 1, 2, slope[1, 2] * np.arange(voxels.shape[2]), fill)
    # x depends on the old y, which after the first pass is new y - slope[1, 2] * z: substitute it
    by_y, by_z = slope[0, 1], slope[0, 2] - slope[0, 1] * slope[1, 2]
    out, start_z = _shift_lines(out, 0, 2, by_z * np.arange(voxels.shape[2]), fill)
    out, start_x = _shift_lines(out, 0, 1, by_y * (np.arange(out.shape[1]) + start_y), fill)
    corrected = np.eye(4)
    corrected[:3, :3] = rotation * steps
    corrected[:3, 3] = affine[:3, 3] + corrected[:3, :3] @ (start_z + start_x, start_y, 0)
    return out, corrected


def _shift_lines(voxels: np.ndarray, axis: int, along: int, shifts: np.ndarray, fill: float) -> tuple[np.ndarray, int]:
    """Shift each plane of a volume along an axis, by linear interpolation.

    Args:
        voxels: (X, Y, Z).
        axis: axis of the shift.
        along: axis that planes are indexed by.
        shifts: shift of each plane, in pixels.
        fill: value of new voxels.

    Returns:
        The voxels, longer along `axis`, and the old index of their first element.
    """
    if not shifts.any():
        return voxels, 0
    start = int(np.floor(shifts.min()))
    length = voxels.shape[axis]
    shape = list(voxels.shape)
    shape[axis] = length + int(np.ceil(shifts.max())) - start
    out = np.full(shape, fill, dtype=np.float32)
    # views with plane and shift axis in front: writes go to `out`
    planes, sources = np.moveaxis(out, (along, axis), (0, 1)), np.moveaxis(voxels, (along, axis), (0, 1))
    for plane, source, offset in zip(planes, sources, (shifts - start).tolist(), strict=True):
        # relative to `fill`, so that the two weighted copies blend into the background at the edges
        lower, fraction = int(offset), offset - int(offset)
        plane[lower : lower + length] += (1 - fraction) * (source - fill)
        if fraction:
            plane[lower + 1 : lower + 1 + length] += fraction * (source - fill)
    return out, start

"""Bring a volume whose axes are not at right angles to one whose axes are.

With a tilted gantry, CT slices are parallel, but each lies further to the front or back than the one before. Read as a
box, the patient would lean, and the step from slice to slice would be longer than their distance.
"""

from __future__ import annotations

import numpy as np

from vertebra.tasks.medical.scans import UnreadableScan

_LEAST = 0.5  # pixels of shift over the whole volume below which nothing is interpolated: positions have few digits
_MOST_TILT = 45.0  # degrees; gantries tilt by 30 at most
_MOST_GROWTH = 4.0  # voxels of the result beside those of the file


def straightened(name: str, voxels: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shift the slices of a sheared volume back in their planes, by linear interpolation along each axis.

    The planes of x and y stay as they are, so that the new third axis is their normal, and its step the distance
    between planes. The volume grows to hold all that the file has; what is new gets the lowest value of the scan.

    Args:
        name: path of the file.
        voxels: (X, Y, Z).
        affine: (4, 4) float64, invertible, from the indices (x, y, z) to mm.

    Returns:
        Voxels and affine; those given, where the axes are at right angles.

    Raises:
        UnreadableScan: the axes are too far from right angles.
    """
    # upper triangular: the first axis stays, the second leans along it, the third along both
    turn, shear = np.linalg.qr(affine[:3, :3])
    signs = np.sign(np.diag(shear))
    turn, shear = turn * signs, shear * signs[:, None]
    steps = np.diag(shear)
    lean = shear / steps[:, None]  # pixels along the row's axis, for each index along the column's
    reach = np.abs(lean - np.eye(3)) * (np.array(voxels.shape) - 1)
    if reach.max() < _LEAST:
        return voxels, affine
    lengths = np.linalg.norm(shear, axis=0)
    cosine = float((np.sqrt((np.triu(shear, 1) ** 2).sum(axis=0)) / lengths).max())
    tilt = float(np.degrees(np.arcsin(min(cosine, 1.0))))
    growth = float(np.prod((np.array(voxels.shape) + reach.sum(axis=1)) / voxels.shape))
    if tilt > _MOST_TILT or growth > _MOST_GROWTH:
        raise UnreadableScan(
            f"{name}: its axes are {tilt:.0f} degrees off right angles and the straightened volume would be "
            f"{growth:.1f} times as large; expected a tilted gantry, at most {_MOST_TILT:.0f} degrees and "
            f"{_MOST_GROWTH:g} times. Write the file again with the right orientation, or resample it."
        )
    low = float(voxels.min())
    moved, start_y = _slid(voxels, 1, 2, lean[1, 2] * np.arange(voxels.shape[2]), low)
    # a row that is named by its new index came from an old one that depends on the slice
    by_y, by_z = lean[0, 1], lean[0, 2] - lean[0, 1] * lean[1, 2]
    moved, start = _slid(moved, 0, 2, by_z * np.arange(voxels.shape[2]), low)
    moved, more = _slid(moved, 0, 1, by_y * (np.arange(moved.shape[1]) + start_y), low)
    straight = np.eye(4)
    straight[:3, :3] = turn * steps
    straight[:3, 3] = affine[:3, 3] + straight[:3, :3] @ (start + more, start_y, 0)
    return moved, straight


def _slid(voxels: np.ndarray, axis: int, along: int, shifts: np.ndarray, fill: float) -> tuple[np.ndarray, int]:
    """Shift each part of a volume along an axis.

    Args:
        voxels: (X, Y, Z).
        axis: along which pixels move.
        along: the axis that parts are counted along.
        shifts: pixels that each part moves by.
        fill: value of what comes in.

    Returns:
        The voxels, longer along `axis`, and which old index their first has.
    """
    if not shifts.any():
        return voxels, 0
    start = int(np.floor(shifts.min()))
    length = voxels.shape[axis]
    shape = list(voxels.shape)
    shape[axis] = length + int(np.ceil(shifts.max())) - start
    out = np.full(shape, fill, dtype=np.float32)
    parts, sources = np.moveaxis(out, (along, axis), (0, 1)), np.moveaxis(voxels, (along, axis), (0, 1))
    for part, source, shift in zip(parts, sources, (shifts - start).tolist(), strict=True):
        whole, rest = int(shift), shift - int(shift)
        part[whole : whole + length] += (1 - rest) * (source - fill)
        if rest:
            part[whole + 1 : whole + 1 + length] += rest * (source - fill)
    return out, start

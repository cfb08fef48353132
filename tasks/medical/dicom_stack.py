"""Stacking parallel DICOM slices into a volume by their positions in the patient.

Slices are sorted along the normal, and a stack with gaps, duplicates or mixed spacing is rejected. MONAI's
PydicomReader sorts by InstanceNumber, and stacks slices of several series, or across a gap, as if they were adjacent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from vertebra.tasks.medical.memory import check_size
from vertebra.tasks.medical.orientation import reorient
from vertebra.tasks.medical.scans import Scan, UnreadableScan

TOLERANCE = 0.1  # fraction of the median spacing that a slice may be off: positions are written with few digits
_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # DICOM is LPS+: x to the left, y to the back


class Slice(NamedTuple):
    """One image of a stack.

    Attributes:
        name: file name, or frame number, for messages.
        size: rows and columns.
        position: center of the first pixel, in mm (LPS); None if missing, as for the two below.
        orientation: direction cosines of the rows, then of the columns: two unit vectors (LPS).
        spacing: distance of rows and distance of columns, in mm.
        pixels: function that decodes (1, H, W) float32, or (3, H, W) of a color image.
        uid: SOPInstanceUID; None for frames, which have none.
    """

    name: str
    size: tuple[int, int]
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, float] | None
    pixels: Callable[[], np.ndarray]
    uid: str | None


class _Positioned(NamedTuple):
    """A slice with its position as an array."""

    slice: Slice
    position: np.ndarray


def stack_slices(path: str, slices: Sequence[Slice]) -> Scan:
    """Stack slices in the order of their positions along the normal.

    The step between planes is computed from positions; `SliceThickness` and `SpacingBetweenSlices` are ignored, as they
    often disagree with them. With a tilted gantry the volume is resampled, see `shear.remove_shear`.

    Args:
        path: folder or file, for messages.
        slices: two or more, in any order.

    Raises:
        UnreadableScan: a position is missing, or the slices do not form one volume: the message names them.
    """
    for one in slices:
        _check_complete(path, one)
    for field in ("size", "spacing", "orientation"):
        _check_equal(path, slices, field)
    right, down = _directions(path, slices[0])
    normal = np.cross(right, down)
    ordered = [_Positioned(one, np.array(one.position)) for one in slices]
    ordered.sort(key=lambda one: float(one.position @ normal))
    _check_even(path, ordered, normal)
    rows, columns = slices[0].size
    check_size(path, (len(slices), rows, columns))

    between_rows, between_columns = slices[0].spacing or (1.0, 1.0)  # never None, see `_check_complete`
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = right * between_columns, down * between_rows
    # the mean step: first and last position have the smallest relative rounding error
    affine[:3, 2] = (ordered[-1].position - ordered[0].position) / (len(ordered) - 1)
    affine[:3, 3] = ordered[0].position
    stack = np.stack([_gray(path, one.slice) for one in ordered])  # (Z, Y, X)
    return reorient(path, stack.transpose(2, 1, 0), _TO_RAS @ affine)


def _check_complete(path: str, one: Slice) -> None:
    missing = [
        name
        for name, value in (
            ("ImagePositionPatient", one.position),
            ("ImageOrientationPatient", one.orientation),
            ("PixelSpacing", one.spacing),
        )
        if value is None
    ]
    if missing:
        raise UnreadableScan(
            f"{path}: {one.name} has no {', '.join(missing)}, so its position in the volume is unknown; InstanceNumber "
            "and SliceLocation give neither the spacing nor the direction of the head. List single files instead, or "
            "export them with their positions."
        )


def _check_equal(path: str, slices: Sequence[Slice], field: str) -> None:
    """Reject slices that differ in size, spacing or orientation; the message names the outlier, not the majority."""
    values = [getattr(one, field) for one in slices]
    usual = Counter(values).most_common(1)[0][0]
    for one, value in zip(slices, values, strict=True):
        if not np.allclose(value, usual, rtol=0, atol=1e-3):
            other = slices[values.index(usual)]
            keyword, found, expected = _difference(field, value, usual)
            raise UnreadableScan(
                f"{path}: its slices differ: {one.name} has {keyword} {found}, {other.name} has {expected}. Remove "
                "slices of other series, such as a localizer."
            )


def _difference(field: str, value: Sequence[float], usual: Sequence[float]) -> tuple[str, object, object]:
    """Return the attribute in which a field differs, and both of its values."""
    if field == "size":
        axis = 0 if value[0] != usual[0] else 1
        return ("Rows", "Columns")[axis], value[axis], usual[axis]
    keyword = "PixelSpacing" if field == "spacing" else "ImageOrientationPatient"
    return keyword, list(value), list(usual)


def _directions(path: str, one: Slice) -> tuple[np.ndarray, np.ndarray]:
    """Return the directions of rows and columns, orthonormalized."""
    right, down = np.array(one.orientation, dtype=np.float64).reshape(2, 3)
    lengths = np.linalg.norm([right, down], axis=1)
    # 0.02: direction cosines are often rounded to two digits
    if np.abs(lengths - 1).max() > 0.02 or abs(right @ down) > 0.02:
        raise UnreadableScan(
            f"{path}: ImageOrientationPatient of {one.name} is {list(one.orientation or ())}; expected two unit "
            "vectors at right angles. Export the series again."
        )
    right = right / lengths[0]
    down = down - (down @ right) * right
    return right, down / np.linalg.norm(down)


def _check_even(path: str, ordered: Sequence[_Positioned], normal: np.ndarray) -> None:
    """Reject sorted slices with equal positions, gaps, mixed spacing or irregular in-plane shifts."""
    steps = np.diff([one.position @ normal for one in ordered])
    closest = int(steps.argmin())
    if steps[closest] < 1e-3:
        below, above = (one.slice for one in ordered[closest : closest + 2])
        if below.uid is not None and below.uid == above.uid:
            raise UnreadableScan(
                f"{path}: {below.name} and {above.name} are the same image twice (SOPInstanceUID). Remove one of them."
            )
        raise UnreadableScan(
            f"{path}: {below.name} and {above.name} are {steps[closest]:.3g} mm apart: two images of one position, "
            "such as two phases or echoes of one series. Keep one of them, or move each to its own folder."
        )
    # the lower median: of two steps, one of them across a gap, it is the one without
    usual = float(np.sort(steps)[(len(steps) - 1) // 2])
    line = (ordered[-1].position - ordered[0].position) / float(steps.sum())
    for step, (below_, above_) in zip(steps.tolist(), pairwise(ordered), strict=True):
        between = f"{path}: the spacing between {below_.slice.name} and {above_.slice.name}"
        if step > 1.5 * usual:
            missing = round(step / usual) - 1
            slices_are = "slice is" if missing == 1 else "slices are"
            raise UnreadableScan(
                f"{between} is {step:.6g} mm, elsewhere {usual:.6g} mm: {missing} {slices_are} missing. Add the "
                "missing files."
            )
        if abs(step - usual) > TOLERANCE * usual:
            raise UnreadableScan(
                f"{between} is {step:.6g} mm, elsewhere {usual:.6g} mm; expected even spacing. Export the series again "
                "with even spacing."
            )
        # a tilted gantry shifts every slice by the same vector, so all positions are on one line
        if np.abs(above_.position - below_.position - step * line).max() > TOLERANCE * max(usual, 1.0):
            raise UnreadableScan(
                f"{path}: {above_.slice.name} is shifted in its plane against {below_.slice.name}, from "
                f"{below_.position.tolist()} to {above_.position.tolist()} mm, unlike the other slices. Export the "
                "series again with even shifts."
            )


def _gray(path: str, one: Slice) -> np.ndarray:
    pixels = one.pixels()
    if len(pixels) > 1:
        raise UnreadableScan(f"{path}: {one.name} is in color; expected gray slices. Convert it.")
    return pixels[0]

"""A volume from parallel slices, whose places in the patient are known, and never from some of them.

The slices are sorted by where they lie, and what does not make one even stack is refused: MONAI's reader goes by the
numbers of the images, and stacks slices of several series, or on both sides of a gap, as if they were neighbors.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from vertebra.tasks.medical.memory import check_size
from vertebra.tasks.medical.orientation import oriented
from vertebra.tasks.medical.scans import Scan, UnreadableScan

TOLERANCE = 0.1  # part of the usual spacing that a slice may be off: positions are written with few digits
_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # DICOM counts to the left and to the back


class Slice(NamedTuple):
    """One image of a stack, as its file describes it.

    Attributes:
        name: what it is called by in its folder or file.
        size: rows and columns.
        position: where its first pixel lies, in mm (LPS); None where it is not given, as the two that follow.
        orientation: where its rows run, and then its columns, as two unit vectors (LPS).
        spacing: from row to row and from column to column, in mm.
        pixels: decodes them, (1, H, W) float32, of an image in color (3, H, W).
        identity: what no other image is called by; None where it has no such name.
    """

    name: str
    size: tuple[int, int]
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, float] | None
    pixels: Callable[[], np.ndarray]
    identity: str | None


class _Placed(NamedTuple):
    """A slice whose place is known."""

    slice: Slice
    position: np.ndarray


def stacked(path: str, slices: Sequence[Slice]) -> Scan:
    """Return the volume of all slices, in the order of their places.

    The step from plane to plane comes from their positions, whatever `SliceThickness` and `SpacingBetweenSlices` say.
    With a tilted gantry the volume is straightened, see `shear.straightened`.

    Args:
        path: of the folder or file.
        slices: two or more, in any order.

    Raises:
        UnreadableScan: a place is not given, or the slices do not make one volume: the message names them.
    """
    for one in slices:
        _check_placed(path, one)
    for field in ("size", "spacing", "orientation"):
        _check_alike(path, slices, field)
    right, down = _directions(path, slices[0])
    normal = np.cross(right, down)
    placed = [_Placed(one, np.array(one.position)) for one in slices]
    placed.sort(key=lambda one: float(one.position @ normal))
    _check_even(path, placed, normal)
    rows, columns = slices[0].size
    check_size(path, (len(slices), rows, columns))

    between_rows, between_columns = slices[0].spacing or (1.0, 1.0)  # which `_check_placed` has seen
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = right * between_columns, down * between_rows
    affine[:3, 2] = (placed[-1].position - placed[0].position) / (len(placed) - 1)
    affine[:3, 3] = placed[0].position
    stack = np.stack([_gray(path, one.slice) for one in placed])  # (Z, Y, X)
    return oriented(path, stack.transpose(2, 1, 0), _TO_RAS @ affine)


def _check_placed(path: str, one: Slice) -> None:
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
            f"{path}: {one.name} has no {', '.join(missing)}, so its place among the others is unknown; numbers and "
            "locations of slices say neither their distance nor which end is the head. Name single files instead, or "
            "export them with their positions."
        )


def _check_alike(path: str, slices: Sequence[Slice], field: str) -> None:
    """Refuse slices of different sizes, spacings or orientations; the odd one is named, and not the many others."""
    values = [getattr(one, field) for one in slices]
    usual = Counter(values).most_common(1)[0][0]
    for one, value in zip(slices, values, strict=True):
        if not np.allclose(value, usual, rtol=0, atol=1e-3):
            other = slices[values.index(usual)]
            keyword, seen, expected = _differing(field, value, usual)
            raise UnreadableScan(
                f"{path}: its slices differ: {one.name} has {keyword} {seen}, {other.name} has {expected}. Remove the "
                "one that is of another series, such as a localizer."
            )


def _differing(field: str, value: Sequence[float], usual: Sequence[float]) -> tuple[str, object, object]:
    """Return the attribute in which a field differs, and what it is in both."""
    if field == "size":
        place = 0 if value[0] != usual[0] else 1
        return ("Rows", "Columns")[place], value[place], usual[place]
    keyword = "PixelSpacing" if field == "spacing" else "ImageOrientationPatient"
    return keyword, list(value), list(usual)


def _directions(path: str, one: Slice) -> tuple[np.ndarray, np.ndarray]:
    """Return where rows and columns run, as unit vectors at right angles."""
    right, down = np.array(one.orientation, dtype=np.float64).reshape(2, 3)
    lengths = np.linalg.norm([right, down], axis=1)
    # few digits make them a little too long or short
    if np.abs(lengths - 1).max() > 0.02 or abs(right @ down) > 0.02:
        raise UnreadableScan(
            f"{path}: ImageOrientationPatient of {one.name} is {list(one.orientation or ())}; expected two unit "
            "vectors at right angles. Export the series again."
        )
    right = right / lengths[0]
    down = down - (down @ right) * right
    return right, down / np.linalg.norm(down)


def _check_even(path: str, placed: Sequence[_Placed], normal: np.ndarray) -> None:
    """Refuse slices (sorted) that lie at one place, leave a gap, or are shifted irregularly against each other."""
    steps = np.diff([one.position @ normal for one in placed])
    closest = int(steps.argmin())
    if steps[closest] < 1e-3:
        below, above = (one.slice for one in placed[closest : closest + 2])
        if below.identity is not None and below.identity == above.identity:
            raise UnreadableScan(
                f"{path}: {below.name} and {above.name} are the same image twice (SOPInstanceUID). Remove one of them."
            )
        raise UnreadableScan(
            f"{path}: {below.name} and {above.name} lie {steps[closest]:.3g} mm apart: they are two images of one "
            "place, such as two times or echoes of one series. Keep one of them, or put each into a folder of its own."
        )
    # the lower median: of two steps, one over a gap, it is the other
    usual = float(np.sort(steps)[(len(steps) - 1) // 2])
    line = (placed[-1].position - placed[0].position) / float(steps.sum())
    for step, (below_, above_) in zip(steps.tolist(), pairwise(placed), strict=True):
        between = f"{path}: between {below_.slice.name} and {above_.slice.name}"
        if step > 1.5 * usual:
            gone = round(step / usual) - 1
            slices_are = "slice is" if gone == 1 else "slices are"
            raise UnreadableScan(
                f"{between} lie {step:.6g} mm, elsewhere {usual:.6g} mm: {gone} {slices_are} missing. Put the missing "
                "files there."
            )
        if abs(step - usual) > TOLERANCE * usual:
            raise UnreadableScan(
                f"{between} lie {step:.6g} mm, elsewhere {usual:.6g} mm: the spacing is mixed. Export the series again "
                "with even spacing."
            )
        if np.abs(above_.position - below_.position - step * line).max() > TOLERANCE * max(usual, 1.0):
            raise UnreadableScan(
                f"{between} the image is shifted sideways, from {below_.position.tolist()} to "
                f"{above_.position.tolist()} mm, as between no others. Export the series again, with even shifts."
            )


def _gray(path: str, one: Slice) -> np.ndarray:
    pixels = one.pixels()
    if len(pixels) > 1:
        raise UnreadableScan(f"{path}: {one.name} is in color; the slices of a volume are gray. Convert it.")
    return pixels[0]

"""From the grid of a scan to the one that the network sees, and back.

Both ways are one linear interpolation along each axis. MONAI's `Spacing` and a crop or padding behind it give the same
where nothing is made smaller; where it is, this averages over what lies between, as Pillow does, and leaves no aliases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from vertebra.tasks.medical.scans import Scan, UnreadableScan


class Axis(NamedTuple):
    """How one axis of the network's grid lies along that of a scan: index o lies at start + step * o.

    Attributes:
        step: scan's pixels from one of the network's to the next.
        start: where the network's first pixel lies.
        length: pixels of the network's axis.
    """

    step: float
    start: float
    length: int

    def inverse(self, length: int) -> Axis:
        """Return how an axis of the scan, of so many pixels, lies along the network's."""
        return Axis(1 / self.step, -self.start / self.step, length)


@dataclass
class Resample:
    """Bring scans to one size.

    Args:
        size: what the network sees: height and width of images, or depth, height and width of volumes; a volume of one
            slice may be an image.
        spacing: mm from pixel to pixel, along the axes of `size`; None for that of each scan.
        fit: `resize` scales every scan to `size`, each axis for itself; `crop` keeps its spacing, or the one asked for,
            and cuts off or pads evenly at both ends. If not given: `crop` with a spacing, else `resize`, which knows
            none.
        channels: 1 or 3. Gray is repeated for 3; for 1 a scan in color is an error.
    """

    size: tuple[int, ...] = (224, 224)
    spacing: tuple[float, ...] | None = None
    fit: Literal["resize", "crop"] | None = None
    channels: Literal[1, 3] = 1

    def __post_init__(self) -> None:
        self.size = tuple(self.size)
        self.spacing = None if self.spacing is None else tuple(self.spacing)
        if len(self.size) not in (2, 3) or min(self.size) < 1:
            raise ValueError(f"size is {self.size}; give height and width, or depth, height and width, in pixels.")
        if self.spacing is not None and (len(self.spacing) != len(self.size) or min(self.spacing) <= 0):
            raise ValueError(f"spacing is {self.spacing}; give {len(self.size)} lengths in mm, one an axis of size.")
        if self.spacing is not None and self.fit == "resize":
            raise ValueError(
                f"spacing is {self.spacing} and fit 'resize', which scales every scan to {self.size} whatever its "
                "spacing; leave out one of them."
            )
        if self.channels not in (1, 3):
            raise ValueError(f"channels is {self.channels}; give 1 for gray or 3 for color.")

    def __call__(self, scan: Scan, outside: float) -> np.ndarray:
        """Return the pixels (channels, *size) float32.

        Args:
            scan: an image or a volume.
            outside: value of what is padded.

        Raises:
            UnreadableScan: the scan is an image where a volume is wanted or the other way round, it has no spacing
                where one is wanted, or is in color where gray is wanted.
        """
        pixels = scan.pixels
        if len(pixels) != self.channels:
            if self.channels == 1:
                raise UnreadableScan(
                    f"{scan.name}: is in color, {len(pixels)} channels; expected gray. Set data.resample.channels=3, "
                    "and in_channels=3 of the network, or convert it."
                )
            pixels = np.repeat(pixels, self.channels, axis=0)
        axes = self.axes(scan)
        pixels = pixels.reshape(self.channels, *(scan.pixels.shape[1 + axis] for axis in self.seen(scan)))
        return resampled(pixels, axes, outside)

    def axes(self, scan: Scan) -> list[Axis]:
        """Return how the axes of the network's grid lie along those of a scan that it sees; see `__call__`."""
        seen = self.seen(scan)
        lengths = [scan.pixels.shape[1 + axis] for axis in seen]
        if self.fit == "resize" or (self.fit is None and self.spacing is None):
            # the outer borders of both grids lie on each other, half a pixel beyond their outer pixels
            return [Axis(n / size, (n / size - 1) / 2, size) for n, size in zip(lengths, self.size, strict=True)]
        steps = [1.0] * len(seen)
        if self.spacing is not None:
            if scan.spacing is None:
                raise UnreadableScan(
                    f"{scan.name}: tells no spacing, but data.resample.spacing asks for {self.spacing} mm. Leave that "
                    "out, or convert the file to one that tells it."
                )
            own = [scan.spacing[axis] for axis in seen]
            steps = [wanted / there for wanted, there in zip(self.spacing, own, strict=True)]
        # the middles of both grids lie on each other; on half a pixel nothing is interpolated for its sake alone
        return [
            Axis(step, float(int((n - size) / 2)) if step == 1 else (n - 1 - step * (size - 1)) / 2, size)
            for step, n, size in zip(steps, lengths, self.size, strict=True)
        ]

    def seen(self, scan: Scan) -> list[int]:
        """Return which axes of the scan the network sees: all, or of a volume of one slice those of the slice."""
        shape = scan.pixels.shape[1:]
        if len(shape) == len(self.size):
            return list(range(len(shape)))
        if len(shape) == 3 and 1 in shape:
            return [axis for axis in range(3) if axis != shape.index(1)]
        is_a = "a volume" if len(shape) == 3 else "an image"
        raise UnreadableScan(
            f"{scan.name}: is {is_a} of {' x '.join(map(str, shape))}, but data.resample.size asks for "
            f"{' x '.join(map(str, self.size))}. Set as many sizes as a scan has axes, or mend the path."
        )


def to_own_space(volume: np.ndarray, scan: Scan, resample: Resample) -> np.ndarray:
    """Bring a map of what the network saw back to the voxels of the scan's file, for `nifti.write_nifti`.

    Args:
        volume: of `resample.size`, such as what Grad-CAM says of each voxel.
        scan: what the network saw.
        resample: how it saw it.

    Returns:
        float32 along the axes of the file, (X, Y, Z), with 0 where the network saw nothing; where the file tells no
        place (`scan.grid` is None), along those of the scan.

    Raises:
        ValueError: the map is not of `resample.size`.
    """
    if volume.shape != resample.size:
        raise ValueError(f"the map of {scan.name} is {volume.shape}; expected {resample.size}, what the network saw.")
    shape = scan.pixels.shape[1:]
    back = [axis.inverse(shape[seen]) for axis, seen in zip(resample.axes(scan), resample.seen(scan), strict=True)]
    own = resampled(volume[None].astype(np.float32), back, outside=0.0)[0].reshape(shape)
    if scan.grid is None:
        return own
    from vertebra.tasks.medical.orientation import restored  # which needs nibabel, as every file with a place does

    return restored(own, scan.grid)


def resampled(pixels: np.ndarray, axes: Sequence[Axis], outside: float) -> np.ndarray:
    """Return pixels at other places.

    Args:
        pixels: (C, ...) float32.
        axes: where, along each of its axes.
        outside: value of what lies more than half a pixel beyond the outer ones.
    """
    for place, axis in enumerate(axes, start=1):
        if axis != (1, 0, pixels.shape[place]):
            pixels = _along(pixels, place, axis, outside)
    return pixels


def _along(pixels: np.ndarray, place: int, axis: Axis, outside: float) -> np.ndarray:
    length = pixels.shape[place]
    wanted = axis.start + axis.step * np.arange(axis.length)
    is_inside = (wanted > -0.5 - 1e-6) & (wanted < length - 0.5 + 1e-6)
    # a triangle around each place, as wide as the pixels are apart; linear interpolation where they are not further
    # apart than before. Beyond the border there is nothing, and the rest counts more
    reach = max(1.0, axis.step)
    weights = np.maximum(0, 1 - np.abs(wanted[:, None] - np.arange(length)) / reach)
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)
    rows = weights.astype(np.float32)

    before, behind = pixels.shape[:place], pixels.shape[place + 1 :]
    out = rows @ pixels.reshape(-1, length, int(np.prod(behind))) if behind else pixels.reshape(-1, length) @ rows.T
    out = out.reshape(*before, axis.length, *behind)
    out[(slice(None),) * place + (~is_inside,)] = outside
    return out

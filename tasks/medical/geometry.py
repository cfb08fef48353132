"""Resampling between the grid of a scan and the grid of the network, in both directions.

Separable linear interpolation. Equal to MONAI's `Spacing` followed by a crop or padding when upsampling; when
downsampling, this filters with a triangle as wide as the step, as Pillow does, and so avoids aliasing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from vertebra.tasks.medical.scans import Scan, UnreadableScan


class Axis(NamedTuple):
    """Sampling of one axis: index o of the target grid is at start + step * o of the source grid.

    Attributes:
        step: source pixels per target pixel.
        start: source coordinate of the first target pixel.
        length: target pixels.
    """

    step: float
    start: float
    length: int

    def inverse(self, length: int) -> Axis:
        """Return the sampling from target back to source, which has `length` pixels."""
        return Axis(1 / self.step, -self.start / self.step, length)


@dataclass
class Resample:
    """Resample scans to one size.

    Args:
        size: input size of the network: (H, W) of images, or (D, H, W) of volumes; a volume of one slice also counts
            as an image.
        spacing: mm per pixel along the axes of `size`; None keeps the spacing of each scan.
        fit: `resize` scales every scan to `size`, each axis independently; `crop` keeps its spacing, or the given one,
            and crops or pads evenly at both ends. If not given: `crop` with a spacing, else `resize`, which ignores
            spacing.
        channels: 1 or 3. Gray is repeated for 3; for 1 a color scan is an error.
    """

    size: tuple[int, ...] = (224, 224)
    spacing: tuple[float, ...] | None = None
    fit: Literal["resize", "crop"] | None = None
    channels: Literal[1, 3] = 1

    def __post_init__(self) -> None:
        # lists, as YAML has them, become tuples
        self.size = tuple(self.size)
        self.spacing = None if self.spacing is None else tuple(self.spacing)
        if len(self.size) not in (2, 3) or min(self.size) < 1:
            raise ValueError(f"size is {self.size}; give height and width, or depth, height and width, in pixels.")
        if self.spacing is not None and (len(self.spacing) != len(self.size) or min(self.spacing) <= 0):
            raise ValueError(
                f"spacing is {self.spacing}; give {len(self.size)} lengths in mm, one for each axis of size."
            )
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
            outside: value of padding.

        Raises:
            UnreadableScan: `size` is 3-D and the scan an image or the reverse, a spacing is given and the scan has
                none, or the scan is in color and `channels` is 1.
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
        # drops the singleton axis of a volume that is used as an image
        pixels = pixels.reshape(self.channels, *(scan.pixels.shape[1 + axis] for axis in self.spatial_axes(scan)))
        return resample_axes(pixels, axes, outside)

    def axes(self, scan: Scan) -> list[Axis]:
        """Return the sampling of each axis of `size` on the grid of a scan; see `__call__`."""
        spatial = self.spatial_axes(scan)
        lengths = [scan.pixels.shape[1 + axis] for axis in spatial]
        if self.fit == "resize" or (self.fit is None and self.spacing is None):
            # align the outer edges of both grids, half a pixel beyond the centers of their outer pixels
            return [Axis(n / size, (n / size - 1) / 2, size) for n, size in zip(lengths, self.size, strict=True)]
        steps = [1.0] * len(spatial)
        if self.spacing is not None:
            if scan.spacing is None:
                raise UnreadableScan(
                    f"{scan.name}: has no spacing, but data.resample.spacing is {self.spacing} mm. Leave the option "
                    "out, or convert the file to a format with a spacing."
                )
            native = [scan.spacing[axis] for axis in spatial]
            steps = [target / source for target, source in zip(self.spacing, native, strict=True)]
        # align the centers of both grids; at step 1 the half pixel of an odd difference is dropped, as interpolation
        # would only blur
        return [
            Axis(step, float(int((n - size) / 2)) if step == 1 else (n - 1 - step * (size - 1)) / 2, size)
            for step, n, size in zip(steps, lengths, self.size, strict=True)
        ]

    def spatial_axes(self, scan: Scan) -> list[int]:
        """Return the spatial axes of the scan that map to `size`: all, or of a single-slice volume the two in plane."""
        shape = scan.pixels.shape[1:]
        if len(shape) == len(self.size):
            return list(range(len(shape)))
        if len(shape) == 3 and 1 in shape:
            return [axis for axis in range(3) if axis != shape.index(1)]
        is_a = "a volume" if len(shape) == 3 else "an image"
        raise UnreadableScan(
            f"{scan.name}: is {is_a} of {' x '.join(map(str, shape))}, but data.resample.size is "
            f"{' x '.join(map(str, self.size))}. Set one size for each axis of the scans, or fix the path."
        )


def to_file_space(volume: np.ndarray, scan: Scan, resample: Resample) -> np.ndarray:
    """Resample a map on the grid of the network to the voxels of the scan's file, for `nifti.write_nifti`.

    Args:
        volume: map of `resample.size`, such as Grad-CAM.
        scan: scan that the map belongs to.
        resample: preprocessing that the scan went through.

    Returns:
        float32 along the axes of the file, (X, Y, Z), with 0 outside the field of view of the network; without a
        position in the file (`scan.grid` is None), along the axes of the scan.

    Raises:
        ValueError: the map is not of `resample.size`.
    """
    if volume.shape != resample.size:
        raise ValueError(
            f"the map of {scan.name} is {volume.shape}; expected {resample.size}, the input size of the network."
        )
    shape = scan.pixels.shape[1:]
    sampling = zip(resample.axes(scan), resample.spatial_axes(scan), strict=True)
    back = [axis.inverse(shape[spatial]) for axis, spatial in sampling]
    native = resample_axes(volume[None].astype(np.float32), back, outside=0.0)[0].reshape(shape)
    if scan.grid is None:
        return native
    # imported here: needs nibabel, which images without a position do not require
    from vertebra.tasks.medical.orientation import to_file_axes

    return to_file_axes(native, scan.grid)


def resample_axes(pixels: np.ndarray, axes: Sequence[Axis], outside: float) -> np.ndarray:
    """Resample pixels axis by axis.

    Args:
        pixels: (C, ...) float32.
        axes: sampling of each spatial axis.
        outside: value at coordinates more than half a pixel beyond the outer pixels.
    """
    for dim, axis in enumerate(axes, start=1):
        if axis != (1, 0, pixels.shape[dim]):  # skip the identity
            pixels = _resample_axis(pixels, dim, axis, outside)
    return pixels


def _resample_axis(pixels: np.ndarray, dim: int, axis: Axis, outside: float) -> np.ndarray:
    length = pixels.shape[dim]
    coordinates = axis.start + axis.step * np.arange(axis.length)
    is_inside = (coordinates > -0.5 - 1e-6) & (coordinates < length - 0.5 + 1e-6)
    # triangle filter: linear interpolation when upsampling, as wide as the step when downsampling. At the border the
    # weights are renormalized over the pixels that exist
    radius = max(1.0, axis.step)
    weights = np.maximum(0, 1 - np.abs(coordinates[:, None] - np.arange(length)) / radius)
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)
    rows = weights.astype(np.float32)

    # one matrix product per axis: no gather, and any filter width
    before, after = pixels.shape[:dim], pixels.shape[dim + 1 :]
    out = rows @ pixels.reshape(-1, length, int(np.prod(after))) if after else pixels.reshape(-1, length) @ rows.T
    out = out.reshape(*before, axis.length, *after)
    out[(slice(None),) * dim + (~is_inside,)] = outside
    return out

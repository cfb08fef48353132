"""Pixel rule of a data set: channels, and the linear scale from stored values to 8 bits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_FULL_16 = 65535
_LEAST_16 = 1 << 14  # a true 16-bit image rarely stays below; a 12- or 14-bit one always does


class UnclearPixels(ValueError):
    """Pixel values whose meaning is ambiguous; the message names them and the flag to set."""


@dataclass
class Pixels:
    """Channels of an image file that a network gets, and the values of black and white.

    8-bit files are used unchanged. All others are scaled linearly, `black` to 0 and `white` to 255, and clipped, with
    the same scale for every file of a data set. The default white of unsigned 16-bit files is 65535; a file whose
    maximum is below 16384 (14 bits) is refused, since 12-bit values on that scale would have 16 gray levels.
    Floating-point, signed and 32-bit files need `white`.

    Args:
        channels: None gives what a viewer shows: RGB, gray repeated, transparency over white; a file with more
            content (other bands, several pages) is refused. A number takes the stored bands of all pages in order and
            refuses files with another number; it must equal the network's `in_channels`.
        white: value mapped to 255, or one per channel; larger values are clipped.
        black: value mapped to 0, or one per channel; smaller values are clipped.
    """

    channels: int | None = None
    white: float | Sequence[float] | None = None
    black: float | Sequence[float] = 0.0

    def __post_init__(self) -> None:
        if self.channels is not None and self.channels < 1:
            raise ValueError(f"pixels.channels is {self.channels}; an image has 1 or more.")
        for name, value in (("white", self.white), ("black", self.black)):
            if isinstance(value, Sequence) and len(value) != self.number:
                raise ValueError(
                    f"pixels.{name} has {len(value)} values for {self.number} channels; give one, or one a channel."
                )
        if self.white is not None and not np.all(np.asarray(self.white) > np.asarray(self.black)):
            raise ValueError(f"pixels.white is {self.white} and pixels.black {self.black}; white must be above black.")

    @property
    def number(self) -> int:
        """Number of channels of the network's input."""
        return self.channels or 3

    def scaled(self, values: np.ndarray) -> np.ndarray:
        """Scale values (H, W, C) of any type to uint8.

        Raises:
            UnclearPixels: white is unknown, or a value is not finite.
        """
        if values.dtype == np.uint8:
            return values
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise UnclearPixels(f"{(~np.isfinite(values)).sum()} of its values are NaN or infinite; give them a number")
        white: float | Sequence[float] | None = self.white
        if white is None:
            white = self._assumed_white(values)
            if self.black == 0.0:
                # 65535 is 255 * 257, so that this rounds exactly, without floating-point numbers
                return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
        low, high = (np.asarray(value, dtype=np.float32) for value in (self.black, white))
        scaled = (values.astype(np.float32) - low) * (255 / (high - low))
        return np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)

    def _assumed_white(self, values: np.ndarray) -> int:
        largest = values.max()
        kind = {"u": "unsigned", "i": "signed", "f": "floating-point"}[values.dtype.kind]
        seen = f"{kind} values of {values.dtype.itemsize * 8} bits, {values.min():g}..{largest:g},"
        if values.dtype != np.uint16:
            raise UnclearPixels(
                f"{seen} have no known white; give the value that is white for the whole data set, data.pixels.white="
                f"{1 if 0.5 < largest <= 1 else 'VALUE'} (and data.pixels.black where 0 is not black), or convert the "
                "files to 8 bits"
            )
        # an image of zeros is black on every scale
        if 0 < largest < _LEAST_16:
            guess = (1 << max(8, int(largest).bit_length())) - 1
            raise UnclearPixels(
                f"{seen} fill little of 0..65535; give the value that is white for the whole data set, "
                f"data.pixels.white={guess} if these are {guess.bit_length()} bits, or data.pixels.white=65535 if the "
                "picture is only dark"
            )
        return _FULL_16

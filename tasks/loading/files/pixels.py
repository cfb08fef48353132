"""The rule by which the values of image files become the 8-bit channels that a network sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_FULL_16 = 65535
_LEAST_16 = 1 << 14  # a file of true 16 bits that stays below this is too rare to be assumed


class UnclearPixels(ValueError):
    """Values of which it is not known what a network is to see; the message says which, and the flag to set."""


@dataclass
class Pixels:
    """Which channels of an image file a network sees, and which values are black and white.

    Files of 8 bits are taken as they are. The values of all others are scaled linearly, `black` to 0 and `white` to
    255, and clipped; it is the same scale for every file of a data set. Where `white` is not given, it is 65535 for
    unsigned files of 16 bits; one whose largest value is below 16384, which 14 bits hold, is refused, since 12 bits on
    that scale would leave 16 levels of gray. Floating-point, signed and 32-bit files need `white`.

    Args:
        channels: if not given, every image is what a viewer shows: red, green and blue, gray repeated, transparency
            over white, and a file with more in it (other bands, several pages) is refused. A number takes the bands of
            each file as they are stored, of all pages one after the other, and refuses files with more or fewer. The
            network's `in_channels` must be the same.
        white: value that becomes 255, or one for each channel; larger ones become 255, too.
        black: value that becomes 0, or one for each channel; smaller ones become 0, too.
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
        """How many channels the network sees."""
        return self.channels or 3

    def scaled(self, values: np.ndarray) -> np.ndarray:
        """Return values (H, W, C) of any type as uint8.

        Raises:
            UnclearPixels: it is not known which value is white, or a value is no number.
        """
        if values.dtype == np.uint8:
            return values
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise UnclearPixels(f"{(~np.isfinite(values)).sum()} of its values are NaN or infinite; give them a number")
        white: float | Sequence[float] | None = self.white
        if white is None:
            white = self._assumed_white(values)
            if self.black == 0.0:
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
        if 0 < largest < _LEAST_16:
            guess = (1 << max(8, int(largest).bit_length())) - 1
            raise UnclearPixels(
                f"{seen} fill little of 0..65535; give the value that is white for the whole data set, "
                f"data.pixels.white={guess} if these are {guess.bit_length()} bits, or data.pixels.white=65535 if the "
                "picture is only dark"
            )
        return _FULL_16

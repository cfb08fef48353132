"""Abrupt ends of video files whose header has no length: MPEG transport streams and GIF."""

from __future__ import annotations

import mmap
from pathlib import Path

# (bytes of a packet, position of its sync byte): as broadcast, with a time stamp in front (AVCHD, Blu-ray), and with
# error correction behind
_PACKETS = ((188, 0), (192, 4), (204, 0))
_SYNC = 0x47
_NUM_SYNCS = 5  # in a row, which is no coincidence


def abrupt_end(path: str) -> str | None:
    """Return the part of a file in which it breaks off, or None if it ends between two parts or is of another format.

    A file that is cut between two parts cannot be distinguished from a whole one: 1 of 188 cuts of a transport
    stream. FFmpeg plays all of them without an error.

    Args:
        path: of a file that is not empty.
    """
    with Path(path).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content[:4] == b"GIF8":
            return "a block" if _gif_breaks_off(content) else None
        for size, offset in _PACKETS:
            starts = range(offset, min(len(content), size * _NUM_SYNCS), size)
            if len(starts) == _NUM_SYNCS and all(content[start] == _SYNC for start in starts):
                return f"a packet of {size} bytes" if len(content) % size else None
    return None


def _gif_breaks_off(content: mmap.mmap) -> bool:
    """Return whether a GIF ends within a block; the trailer itself may be missing, as some writers leave it out."""
    end = len(content)
    position = 13  # header and logical screen descriptor
    if end < position:
        return True
    position += _color_table(content[10])
    while position < end:
        kind = content[position]
        if kind == 0x3B or kind not in (0x21, 0x2C):  # the trailer, or something appended
            return False
        if kind == 0x2C:  # an image: descriptor, its own color table, and the code size
            if position + 10 > end:
                return True
            position += 11 + _color_table(content[position + 9])
        else:  # an extension: introducer and label
            position += 2
        while True:
            if position >= end:
                return True
            length = content[position]
            position += 1 + length
            if not length:
                break
    return position > end


def _color_table(flags: int) -> int:
    """Return the bytes of the color table that a byte of flags announces."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0

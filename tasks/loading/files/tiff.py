"""TIFF files of any number of bands, pages and bits, as the numbers that are stored.

Pillow opens TIFF with up to four bands of 8 bits, and OpenCV returns wrong pixels for bands that lie one behind the
other. Here Pillow parses the tags and libtiff, by Pillow, undoes LZW and other compressions of bytes; the order of
bytes, rows, tiles and bands is restored by numpy.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin

SUFFIXES = frozenset({".tif", ".tiff"})
_NONE, _DEFLATE, _PACKBITS = 1, (8, 32946), 32773
_BY_LIBTIFF = {
    5: "LZW",
    _PACKBITS: "PackBits",
    34925: "LZMA",
    50000: "Zstandard",
}  # which compress bytes, whatever they mean
_KINDS = {1: "u", 2: "i", 3: "f"}
_GRAY, RGB = (0, 1), 2
_REDUCED, _MASK = 1, 4  # bits of the tag NewSubfileType: pages that show an image again, and masks of one
_MAX_PAGES = 4096


class Page(NamedTuple):
    """One image of a file.

    Attributes:
        height: rows as stored.
        width: columns as stored.
        bands: samples a pixel.
        bits: of a sample.
        kind: `u`, `i` or `f`: unsigned, signed or floating-point.
        photometric: of the tag of that name: 0 and 1 gray, 2 RGB, 3 palette, ...
        orientation: as in EXIF.
        tags: all tags.
    """

    height: int
    width: int
    bands: int
    bits: int
    kind: str
    photometric: int
    orientation: int
    tags: Any


def read_layout(path: str | os.PathLike[str]) -> list[Page]:
    """Return the pages of a file without overviews and masks; reads the tags only.

    Raises:
        ValueError: the file is no TIFF, or its tags make no sense.
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        pages = [page for page in _pages(file) if not page.tags.get(254, 0) & (_REDUCED | _MASK)]
    if not pages:
        raise ValueError("the TIFF holds no page")
    return pages


def is_plain(pages: list[Page]) -> bool:
    """Return whether a viewer shows the whole content: one page of up to 8 bits, gray or color, perhaps with alpha."""
    page = pages[0]
    if len(pages) > 1 or page.bits > 8 or page.kind != "u":
        return False
    color = {RGB: 3, 5: 4}.get(page.photometric, 1 if page.photometric in (*_GRAY, 3) else 3)
    return page.bands == color or (page.photometric == RGB and page.bands == 4 and page.tags.get(284, 1) == 1)


def read_values(path: str | os.PathLike[str]) -> np.ndarray:
    """Read all bands of all pages, in order of pages.

    Returns:
        (H, W, C) as stored, before rotation, in the file's own type.

    Raises:
        ValueError: pages differ in size or type, or use an unsupported compression or packing.
        OSError: the file is truncated.
    """
    pages = read_layout(path)
    for page in pages[1:]:
        if page[:2] != pages[0][:2] or page[3:5] != pages[0][3:5]:
            raise ValueError(
                f"its pages differ: the first is {_described(pages[0])}, another {_described(page)}; save them apart"
            )
    with open(path, "rb") as file:
        layers = [_read_page(file, page) for page in pages]
    return layers[0] if len(layers) == 1 else np.concatenate(layers, axis=2)


def _described(page: Page) -> str:
    return f"{page.width} x {page.height} pixels of {page.bits} bits"


def _pages(file: BinaryIO) -> Iterator[Page]:
    header = file.read(8)
    if header[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        raise ValueError(f"not a TIFF, it begins with {header!r}")
    if 43 in header[2:4]:  # BigTIFF
        header += file.read(8)
    place = TiffImagePlugin.ImageFileDirectory_v2(header).next
    seen: set[int] = set()
    while place:
        if place in seen or len(seen) > _MAX_PAGES:
            raise ValueError(f"its page list is circular or longer than {_MAX_PAGES}")
        seen.add(place)
        tags = TiffImagePlugin.ImageFileDirectory_v2(header)
        file.seek(place)
        tags.load(file)
        yield _page(tags)
        place = tags.next


def _page(tags: Any) -> Page:
    bits, kinds = tags.get(258, (1,)), tags.get(339, (1,))
    if len(set(bits)) > 1 or len(set(kinds)) > 1:
        raise ValueError(f"its bands have different types (bits {bits}, sample formats {kinds}); save them apart")
    height, width, bands = int(tags.get(257, 0)), int(tags.get(256, 0)), int(tags.get(277, 1))
    if min(height, width, bands) < 1:
        raise ValueError(f"its tags say {width} x {height} pixels (width x height) of {bands} bands")
    limit = 2 * (Image.MAX_IMAGE_PIXELS or height * width)  # as for other files, which Pillow refuses
    if height * width > limit:
        raise ValueError(f"{width} x {height} pixels are more than the {limit} that are read; cut the image into tiles")
    photometric = int(tags.get(262, 1))
    turn = int(tags.get(ExifTags.Base.Orientation, 1))
    return Page(height, width, bands, int(bits[0]), _KINDS.get(int(kinds[0]), "u"), photometric, turn, tags)


def _read_page(file: BinaryIO, page: Page) -> np.ndarray:
    """Return (H, W, bands) of one page."""
    if page.bits not in (8, 16, 32, 64) or (page.kind == "f" and page.bits == 8):
        raise ValueError(f"its samples have {page.bits} bits; save it with 8, 16 or 32")
    if page.bits > 8 and page.photometric == 0:
        raise ValueError("0 is white in it (photometric interpretation 0); save it with 0 as black")
    tags = page.tags
    tiled = 322 in tags
    high, wide = (
        (int(tags[323]), int(tags[322])) if tiled else (min(int(tags.get(278, page.height)), page.height), page.width)
    )
    offsets, lengths = (tags.get(324 if tiled else 273), tags.get(325 if tiled else 279))
    if not offsets or not lengths or high < 1 or wide < 1:
        raise ValueError("its tags have no offsets of the pixel data")
    planes = page.bands if tags.get(284, 1) == 2 else 1  # planar or interleaved bands
    inner = page.bands // planes
    across, down = -(-page.width // wide), -(-page.height // high)
    if min(len(offsets), len(lengths)) < planes * across * down:
        raise OSError(f"image file is truncated ({len(offsets)} of {planes * across * down} pieces)")
    # read the pieces before allocating the image: a header may claim more than the file holds
    pieces = []
    for number in range(planes * across * down):
        rows = high if tiled else min(high, page.height - number % down * high)
        file.seek(int(offsets[number]))
        content = file.read(min(int(lengths[number]), os.fstat(file.fileno()).st_size))
        pieces.append(_piece(content, page, rows, wide, inner))
    whole = np.empty((planes, down * high, across * wide, inner), pieces[0].dtype)
    for number, piece in enumerate(pieces):
        plane, rest = divmod(number, across * down)
        top, left = (place * size for place, size in zip(divmod(rest, across), (high, wide), strict=True))
        whole[plane, top : top + len(piece), left : left + wide] = piece
    whole = whole[:, : page.height, : page.width]
    return whole[0] if planes == 1 else np.ascontiguousarray(np.moveaxis(whole[..., 0], 0, 2))


def _piece(content: bytes, page: Page, rows: int, wide: int, bands: int) -> np.ndarray:
    """Return a strip or tile, (rows, wide, bands)."""
    size = page.bits // 8
    row = wide * bands * size
    compression = int(page.tags.get(259, _NONE))
    if compression == _NONE:
        data = content
    elif compression in _DEFLATE:
        data = zlib.decompressobj().decompress(content, rows * row)
    elif compression in _BY_LIBTIFF:
        data = _by_libtiff(content, compression, row, rows)
    else:
        raise ValueError(
            f"its compression (number {compression} in the tags) is not read for such pixels; save it with none, "
            f"Deflate, {', '.join(_BY_LIBTIFF.values())}"
        )
    if len(data) < rows * row:
        raise OSError(f"image file is truncated ({len(data)} of {rows * row} bytes of a piece)")
    predictor = int(page.tags.get(317, 1)) if compression not in (_NONE, _PACKBITS) else 1
    order = "<" if page.tags.prefix == b"II" else ">"
    if predictor == 3:  # of floating-point numbers: differences of bytes, the highest bytes of a row first
        steps = np.frombuffer(data, np.uint8, rows * row).reshape(rows, wide * size, bands)
        planes = np.cumsum(steps, axis=1, dtype=np.uint8).reshape(rows, size, wide * bands)
        raw, order = np.ascontiguousarray(planes.transpose(0, 2, 1)), ">"
    else:
        raw = np.frombuffer(data, np.uint8, rows * row)
    kind = "u" if predictor == 2 else page.kind
    values = raw.view(np.dtype(f"{order}{kind}{size}")).reshape(rows, wide, bands)
    values = values.astype(values.dtype.newbyteorder("="))
    if predictor == 2:  # differences from pixel to pixel
        values = np.cumsum(values, axis=1, dtype=values.dtype).view(np.dtype(f"{page.kind}{size}"))
    return values


def _by_libtiff(content: bytes, compression: int, row: int, rows: int) -> bytes:
    """Decompress with libtiff, through Pillow, by wrapping the bytes as an 8-bit gray image of one strip."""
    tags = ((256, row), (257, rows), (258, 8), (259, compression), (262, 1), (273, 122), (277, 1), (278, rows))
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in (*tags, (279, len(content))))
    head = struct.pack("<2sHIH", b"II", 42, 8, len(tags) + 1) + entries + bytes(4)
    assert len(head) == 122
    with Image.open(io.BytesIO(head + content)) as image:
        return image.tobytes()

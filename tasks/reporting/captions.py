"""Captions below pictures, a legend of colors, and contact sheets of several pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

MIN_SIDE = 240  # pixels; smaller pictures are enlarged, or their captions would not fit
_SIZE = 14  # of text, pixels
_LINE_LENGTH = 34  # sizes of text in the width of a grid, which a page shrinks to one of its columns
_LINE, _PAD = _SIZE + 5, 5
_PAPER, _INK = (255, 255, 255), (30, 30, 30)


def enlarged(pixels: np.ndarray, min_side: int = MIN_SIDE) -> np.ndarray:
    """Return a picture (H, W, 3) uint8 with a longer side of at least `min_side`, enlarged by an integer factor."""
    factor = math.ceil(min_side / max(pixels.shape[:2]))
    return pixels if factor <= 1 else pixels.repeat(factor, axis=0).repeat(factor, axis=1)


def captioned(
    pixels: np.ndarray,
    lines: Sequence[str],
    colors: Sequence[Sequence[int] | None] | None = None,
    keeps_end: bool = False,
) -> np.ndarray:
    """Return a picture with lines of text below it; a line too long for the picture is shortened.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        lines: text.
        colors: RGB of a mark before each line, as in a legend; None for no mark.
        keeps_end: shorten a line at its beginning, as suits paths, and not at its end.
    """
    width = max(pixels.shape[1], MIN_SIDE // 2)
    strip = Image.new("RGB", (width, _LINE * len(lines) + _PAD), _PAPER)
    draw, font = ImageDraw.Draw(strip), ImageFont.load_default(_SIZE)
    for row, line in enumerate(lines):
        top, left = row * _LINE + _PAD // 2, _PAD
        if colors is not None and (color := colors[row]) is not None:
            draw.rectangle((left, top + 3, left + _SIZE - 3, top + _SIZE), fill=tuple(color))
            left += _SIZE + 3
        draw.text((left, top), _fitted(line, draw, font, width - left - _PAD, keeps_end), _INK, font)
    padded = np.full((pixels.shape[0], width, 3), 255, dtype=np.uint8)
    padded[:, : pixels.shape[1]] = pixels
    return np.concatenate([padded, np.asarray(strip)])


def contact_sheet(pictures: Sequence[np.ndarray], titles: Sequence[str], width: int = 320) -> np.ndarray:
    """Return pictures (H, W, 3) uint8 side by side and below each other, each scaled to one width with its title."""
    if len(pictures) == 1:
        return captioned(pictures[0], titles, keeps_end=True)
    cells = []
    for pixels, title in zip(pictures, titles, strict=True):
        scale = width / pixels.shape[1]
        size = width, max(1, round(pixels.shape[0] * scale))
        cells.append(captioned(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), [title], keeps_end=True))
    columns = min(4, math.ceil(math.sqrt(len(cells))))
    rows = [_row(cells[start : start + columns], columns) for start in range(0, len(cells), columns)]
    return np.concatenate(rows)


def labeled_tiles(tiles: Mapping[str, np.ndarray], columns: int) -> np.ndarray:
    """Return pictures of one size in a grid, with white between them, each with its name above it.

    Args:
        tiles: name -> (H, W, 3) uint8 RGB.
        columns: pictures in a row.
    """
    cells = []
    for name, pixels in tiles.items():
        size = max(_SIZE, round(columns * pixels.shape[1] / _LINE_LENGTH))
        strip = Image.new("RGB", (pixels.shape[1], size + 7), _PAPER)
        draw, font = ImageDraw.Draw(strip), ImageFont.load_default(size)
        draw.text((1, 0), _fitted(name, draw, font, pixels.shape[1], keeps_end=False), _INK, font)
        cells.append(np.concatenate([np.asarray(strip), pixels]))
    rows = [_row(cells[start : start + columns], columns) for start in range(0, len(cells), columns)]
    return np.concatenate(rows)[:-_PAD, :-_PAD]  # without the gap behind the last ones


def _row(cells: Sequence[np.ndarray], columns: int) -> np.ndarray:
    height = max(len(cell) for cell in cells) + _PAD
    width = cells[0].shape[1] + _PAD
    row = np.full((height, width * columns, 3), 255, dtype=np.uint8)
    for column, cell in enumerate(cells):
        row[: len(cell), column * width : column * width + cell.shape[1]] = cell
    return row


def _fitted(text: str, draw: ImageDraw.ImageDraw, font: Any, width: int, keeps_end: bool) -> str:
    if draw.textlength(text, font) <= width:
        return text
    while text and draw.textlength(f"{text}…", font) > width:
        text = text[1:] if keeps_end else text[:-1]
    return f"…{text}" if keeps_end else f"{text}…"

"""Instance masks of Pascal VOC: one indexed PNG for each image, whose values number the objects of its XML."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vertebra.tasks.detection.annotations.run_length_masks import RunLengthMasks
from vertebra.tasks.detection.parts.crops import crop_mask

FOLDER = "SegmentationObject"  # beside `Annotations`
_VOID = 255  # the border between objects
_LEAST_IOU = 0.5  # of the box around a mask with that of its object


def mask_file(source: Path) -> Path:
    """Return the path of the masks of an XML file."""
    return source.absolute().parent.parent / FOLDER / f"{source.stem}.png"


def read_object_masks(file: Path, count: int) -> list[Any]:
    """Read the masks of an image.

    Args:
        file: the PNG.
        count: objects in the XML; value 1 is the first.

    Returns:
        The run lengths of each object as COCO writes them; None of one without a pixel.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it is no image of indices, or has a value of no object; the message has no file.
    """
    try:
        with Image.open(file) as image:
            if image.mode not in ("P", "L"):
                raise ValueError(f"has the mode {image.mode}; expected indices of objects, in one channel")
            values = np.asarray(image)
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"cannot be read as an image: {error}") from None
    unknown = np.setdiff1d(values, [*range(count + 1), _VOID])
    if len(unknown):
        raise ValueError(f"has the value {unknown[0]}, but the XML has {count} objects; expected 1 to {count}")
    crops = [crop_mask(values == number) for number in range(1, count + 1)]
    rles = RunLengthMasks.encode(crops, *values.shape).rles()
    plain = [{"size": rle["size"], "counts": rle["counts"].decode()} for rle in rles]
    return [rle if crop.size else None for rle, (_, crop) in zip(plain, crops, strict=True)]


def box_of_mask(box: Sequence[float], outline: Any) -> Sequence[float]:
    """Return the box around a mask, which VOC's void borders make smaller than the box in the XML.

    Args:
        box: xyxy in the XML.
        outline: run lengths, None where there is no mask.

    Returns:
        xyxy; a box whose mask is elsewhere stays as it is, and is reported as one that its mask does not fit.
    """
    if outline is None:
        return box
    stated = np.array(box)
    own = RunLengthMasks.of([{**outline, "counts": outline["counts"].encode()}]).boxes()[0]
    sides = np.minimum(own[2:], stated[2:]) - np.maximum(own[:2], stated[:2])
    shared = sides.clip(min=0).prod()
    union = (own[2:] - own[:2]).prod() + (stated[2:] - stated[:2]).prod() - shared
    fits: bool = shared >= _LEAST_IOU * union
    return own.tolist() if fits else box

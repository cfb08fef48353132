"""One JSON of labelme: https://github.com/wkentaro/labelme."""

from __future__ import annotations

import base64
import binascii
import json
import math
from pathlib import Path
from reprlib import repr as short
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from vertebra.tasks.detection.annotations.per_image import FileContent, FileObject
from vertebra.tasks.detection.annotations.raw_annotations import NOT_A_BOX
from vertebra.tasks.detection.annotations.run_length_masks import RunLengthMasks
from vertebra.tasks.detection.parts.crops import crop_mask
from vertebra.tasks.loading.coco.fields import read_size
from vertebra.tasks.loading.coco.outlines import encode_outline
from vertebra.tasks.loading.files.text_files import read_bytes

LONGEST = 1 << 30  # bytes; a file may hold its image
_CIRCLE_CORNERS = 72
_SHAPES = "polygon, rectangle, circle or mask"


def looks_like_labelme(file: Path) -> bool:
    """Return whether JSON has labelme's keys, without parsing the image that it may hold."""
    try:
        content = read_bytes(file, LONGEST)
    except ValueError:  # a folder, a pipe
        return False
    return b'"shapes"' in content and b'"imagePath"' in content


def read_labelme_json(file: Path) -> FileContent:
    """Read a JSON of labelme; an image within it is passed over.

    Raises:
        FileNotFoundError: it does not exist.
        ValueError: it is not JSON, or not labelme's.
    """
    try:
        # bytes and not text: json detects UTF-8, UTF-16 and a byte-order mark by itself
        content = json.loads(read_bytes(file, LONGEST))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{file}: {error}; expected JSON. Write the file again.") from None
    shapes = content.get("shapes") if isinstance(content, dict) else None
    if not isinstance(shapes, list) or not isinstance(content.get("imagePath"), str):
        seen = f"has {', '.join(map(str, list(content)[:9]))}" if isinstance(content, dict) else f"is {short(content)}"
        raise ValueError(f"{file} {seen}; expected labelme's shapes and imagePath. Replace or remove it.")
    size, size_fault = read_size({"height": content.get("imageHeight"), "width": content.get("imageWidth")})
    if content.get("imageHeight") is None and content.get("imageWidth") is None:
        size_fault = ""  # of old files, whose image has the size
    objects = [_object(number, shape, size) for number, shape in enumerate(shapes, start=1)]
    groups = [shape.get("group_id") if isinstance(shape, dict) else None for shape in shapes]
    # Windows writes paths with backslashes
    return FileContent(content["imagePath"].replace("\\", "/"), size, size_fault, _grouped(objects, groups, size))


def _object(number: int, shape: Any, size: tuple[int, int]) -> FileObject:
    if not isinstance(shape, dict):
        return FileObject(number, None, NOT_A_BOX, f"it is {short(shape)}; expected an object.")
    label = shape.get("label") if isinstance(shape.get("label"), str) else None
    kind = shape.get("shape_type") or "polygon"  # files of before 2019 have no type
    try:
        points = _points(shape.get("points"))
        if kind == "mask":
            outline = _runs_of_mask(shape.get("mask"), points, size)
            rows = RunLengthMasks.of([outline]).boxes()[0].tolist()
            plain = {"size": outline["size"], "counts": outline["counts"].decode()}
            return FileObject(number, label, rows, outline=plain)
        if kind == "rectangle":
            corners = points
        elif kind == "circle" and len(points) == 2:
            angles = np.linspace(0, 2 * np.pi, _CIRCLE_CORNERS, endpoint=False)
            radius = math.dist(*points)
            corners = points[0] + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        elif kind == "polygon":
            corners = points
        else:
            return FileObject(number, label, NOT_A_BOX, f"it is a {short(kind)}; expected a {_SHAPES}.")
    except ValueError as error:
        return FileObject(number, label, NOT_A_BOX, f"{error}.")
    box = [*corners.min(axis=0).tolist(), *corners.max(axis=0).tolist()]
    return FileObject(number, label, box, outline=None if kind == "rectangle" else [corners.ravel().tolist()])


def _points(value: Any) -> np.ndarray:
    """Return points (P, 2) float64."""
    try:
        points = np.array(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        points = np.zeros(0)
    if points.ndim != 2 or points.shape[1] != 2 or not len(points) or not np.isfinite(points).all():
        raise ValueError(f"its points are {short(value)}; expected pairs of finite numbers x, y")
    return points


def _runs_of_mask(encoded: Any, points: np.ndarray, size: tuple[int, int]) -> dict[str, Any]:
    """Return the run lengths of a PNG in text, which covers the box from one point to the other, both included."""
    if 0 in size:
        raise ValueError("its mask cannot be placed, since the file has no imageHeight and imageWidth")
    try:
        content = np.frombuffer(base64.b64decode(encoded or "", validate=True), dtype=np.uint8)
        drawn = cv2.imdecode(content, cv2.IMREAD_GRAYSCALE) if len(content) else None
    except (TypeError, binascii.Error, cv2.error):
        drawn = None
    if drawn is None:
        raise ValueError(f"its mask is {short(encoded)}; expected a PNG in base64")
    (x, y), (height, width) = np.rint(points.min(axis=0)).astype(int).tolist(), size
    drawn = drawn[max(0, -y) : max(0, height - y), max(0, -x) : max(0, width - x)]
    (left, top, *sides), pixels = crop_mask(drawn > 0)
    window = (max(x, 0) + left, max(y, 0) + top, sides[0], sides[1])
    return RunLengthMasks.encode([(window, pixels)], height, width).rles()[0]


def _grouped(objects: list[FileObject], groups: list[Any], size: tuple[int, int]) -> list[FileObject]:
    """Join the shapes of one label and group, which are parts of one object."""
    parts_of: dict[Any, list[FileObject]] = {}
    for each, group in zip(objects, groups, strict=True):
        is_part = type(group) in (int, str) and each.name is not None and not each.reason
        parts_of.setdefault((each.name, group) if is_part else each.number, []).append(each)
    return [_joined(parts, size) if len(parts) > 1 else parts[0] for parts in parts_of.values()]


def _joined(parts: list[FileObject], size: tuple[int, int]) -> FileObject:
    boxes = np.array([part.box for part in parts])
    outlines = [part.outline for part in parts]
    joined: Any = None
    if all(isinstance(outline, list) for outline in outlines):
        joined = [polygon for outline in outlines for polygon in outline]
    elif None not in outlines:
        merged = coco_mask.merge([encode_outline(outline, *size) for outline in outlines])
        joined = {"size": merged["size"], "counts": merged["counts"].decode()}
    return parts[0]._replace(
        box=[*boxes[:, :2].min(axis=0).tolist(), *boxes[:, 2:].max(axis=0).tolist()], outline=joined
    )

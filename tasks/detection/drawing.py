"""Boxes and their names drawn into a picture."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from vertebra.tasks.detection.annotations.instances import Detections
from vertebra.tasks.detection.mask_drawing import draw_masks
from vertebra.tasks.reporting.captions import captioned, enlarged
from vertebra.tasks.reporting.charts import class_color

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_NUM_BEST = 3  # detections drawn where all scores are below the threshold
_SMALLEST_TEXT = 7  # pixels; capitals lower than this cannot be read
_TAGGED = 0.25  # of the picture is what tags may cover
_TAG_AREA = 14  # of a tag of some ten letters, in squares of the height of a capital


def draw_detections(
    image: np.ndarray, detections: Detections, class_names: Sequence[str], threshold: float
) -> np.ndarray:
    """Draw the detections from a score on, with a caption below the image that names the threshold.

    Where no detection reaches the threshold, the best few are drawn dashed: with an empty picture a network that found
    nothing looks like one whose scores are low, as early in training.

    Args:
        image: (H, W, 3) uint8 RGB; it stays as it is.
        detections: best score first.
        class_names: the K classes.
        threshold: minimum score.

    Returns:
        (F * H + h, F * W, 3) uint8 RGB, the image, enlarged by an integer F if it is small, with the caption below it.
    """
    kept = detections[detections.scores >= threshold]
    best = kept if len(kept) else detections[:_NUM_BEST]
    if best.masks is not None:
        image = draw_masks(image, best.masks, best.labels)
    large = enlarged(image)  # before boxes are drawn, whose lines would cover small objects
    boxes = best.boxes * (large.shape[1] / image.shape[1])
    drawn = draw_boxes(large, boxes, best.labels, class_names, best.scores, dashed=not len(kept))
    lines = [f"score >= {threshold:g}: {len(kept)} of {len(detections)}"]
    if len(best) > len(kept):
        lines.append(f"dashed: best {len(best)} below")
    return captioned(drawn, lines)


def draw_boxes(
    image: np.ndarray,
    boxes: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    scores: np.ndarray | None = None,
    dashed: bool = False,
) -> np.ndarray:
    """Draw boxes, each with a tag of its class and score, in the color of its class.

    Lines and text grow with the picture, and shrink where there are so many boxes that tags would cover it. A tag never
    leaves the picture; where even the smallest legible one does not fit, the box goes without.

    Args:
        image: (H, W, 3) uint8 RGB; it stays as it is.
        boxes: (N, 4) xyxy in pixels of `image`; the first, drawn last, lies on top.
        labels: (N,) int in 1..K.
        class_names: the K classes.
        scores: (N,) in 0..1, written behind the name.
        dashed: draw dashed lines, as for truth beside detections.

    Returns:
        (H, W, 3) uint8 RGB, a new array.
    """
    canvas = np.ascontiguousarray(image).copy()
    height, width = canvas.shape[:2]
    text_size = np.hypot(height, width) / 58  # height of a capital, pixels
    text_size = min(text_size, np.sqrt(_TAGGED * height * width / (_TAG_AREA * max(1, len(boxes)))))
    thickness = max(1, round(text_size * 58 / 400))
    # A box may reach over the edge, where its line would not be seen.
    corners = np.clip(np.rint(boxes), 0, [width - 1, height - 1] * 2).astype(int).tolist()
    order = range(len(corners) - 1, -1, -1)
    for i in order:
        _draw_box(canvas, corners[i], class_color(int(labels[i])), thickness, dashed)
    for i in order:  # after all boxes, so that no line crosses a tag
        name = class_names[int(labels[i]) - 1]
        text = name if scores is None else f"{name} {scores[i]:.2f}"
        _draw_tag(canvas, corners[i], text, class_color(int(labels[i])), thickness, round(text_size))
    return canvas


def _draw_box(
    canvas: np.ndarray, box: Sequence[int], color: tuple[int, int, int], thickness: int, dashed: bool
) -> None:
    x1, y1, x2, y2 = box
    # a halo: the color of a class may be that of the image
    cv2.rectangle(canvas, (x1, y1), (x2, y2), _contrast(color), thickness + 2 * max(1, thickness // 4))
    if not dashed:
        cv2.rectangle(canvas, (x1, y1), (x2, y2), color, thickness)
        return
    for start, end in (((x1, y1), (x2, y1)), ((x2, y1), (x2, y2)), ((x2, y2), (x1, y2)), ((x1, y2), (x1, y1))):
        _draw_dashes(canvas, np.array(start), np.array(end), color, thickness)


def _draw_dashes(
    canvas: np.ndarray, start: np.ndarray, end: np.ndarray, color: tuple[int, int, int], thickness: int
) -> None:
    """Draw a line of an odd number of equal strokes and gaps, so that it begins and ends with a stroke."""
    length = float(np.abs(end - start).max())
    num_strokes = 2 * round(length / (8 * thickness)) + 1
    points = np.rint(np.linspace(start, end, num_strokes + 1)).astype(int).tolist()
    for a, b in zip(points[::2], points[1::2], strict=True):
        cv2.line(canvas, a, b, color, thickness)


def _draw_tag(
    canvas: np.ndarray, box: Sequence[int], text: str, color: tuple[int, int, int], thickness: int, text_size: int
) -> None:
    height, width = canvas.shape[:2]
    size = max(_SMALLEST_TEXT + 2, text_size)
    text_width = _text_width(text, size)
    if text_width + size > width:
        size = int(size * width / (text_width + size))
        text_width = _text_width(text, size)
    pad = max(2, size // 3)
    tag_width, tag_height = text_width + 2 * pad, size + 2 * pad
    if size < _SMALLEST_TEXT or tag_width > width or tag_height > height:
        return
    x1, y1 = box[:2]
    left = min(max(x1 - thickness // 2, 0), width - tag_width)
    # Above the box where there is room, else inside its upper edge.
    top = y1 - tag_height if y1 >= tag_height else min(y1, height - tag_height)
    cv2.rectangle(canvas, (left, top), (left + tag_width - 1, top + tag_height - 1), color, cv2.FILLED)
    place = (left + pad, top + pad + size)
    cv2.putText(canvas, text, place, _FONT, _scale(size), _contrast(color), _stroke(size), cv2.LINE_AA)


def _contrast(color: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return black or white, whichever is seen better beside a color."""
    return (0, 0, 0) if np.dot(color, (0.299, 0.587, 0.114)) > 120 else (255, 255, 255)


def _scale(size: int) -> float:
    return cv2.getFontScaleFromHeight(_FONT, size, _stroke(size))


def _stroke(size: int) -> int:
    return max(1, round(size / 9))


def _text_width(text: str, size: int) -> int:
    return cv2.getTextSize(text, _FONT, _scale(size), _stroke(size))[0][0]

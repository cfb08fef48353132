"""Detect objects with an ONNX file of `vertebra export` (without --normalized), by numpy, onnxruntime and Pillow alone.

pip install numpy onnxruntime pillow
python detect_without_torch.py model.onnx photo.jpg ...     prints a line of JSON for each detection
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def weights(length, size, area):
    """Return the part (size, length) of each old pixel in each new one, by area means or linear interpolation."""
    ends, old = np.linspace(0, length, size + 1)[:, None], np.arange(length)
    if area:
        parts = np.minimum(ends[1:], old + 1) - np.maximum(ends[:-1], old)
    else:
        parts = 1 - abs(np.clip((ends[1:] + ends[:-1] - 1) / 2, 0, length - 1) - old)
    parts = np.maximum(parts, 0)
    return (parts / parts.sum(axis=1, keepdims=True)).astype(np.float32)


def read(path, resize):
    """Return an image (H, W, 3) uint8 as the network sees it, and the factors of its height and its width."""
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGBA")
    image = np.asarray(Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB"))
    sides = image.shape[:2]
    scale = min(resize["short"][-1] / min(sides), resize["longest"] / max(sides))
    size = [max(1, round(side * scale)) for side in sides]
    rows, columns = (weights(*pair, scale < 0.5) for pair in zip(sides, size, strict=True))  # as in training
    resized = np.einsum("yh,hwc,xw->yxc", rows, image, columns, optimize=True)
    return resized.round().astype(np.uint8), (size[0] / sides[0], size[1] / sides[1])


def detect(session, image):
    """Return boxes (D, 4) xyxy in pixels, scores (D,) and labels (D,) from 1 on, best score first."""
    sizes = np.array([image.shape[:2]])
    padding = -sizes[0] % 32  # training pads to multiples of 32
    padded = np.pad(image, ((0, padding[0]), (0, padding[1]), (0, 0)))
    images = padded.transpose(2, 0, 1)[None]
    names = ["boxes", "scores", "labels", "count"]
    *columns, count = session.run(names, {"images": images, "sizes": sizes})
    return [column[0, : count[0]] for column in columns]


options = onnxruntime.SessionOptions()
options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED  # with the next line, an eighth of the memory
options.enable_mem_pattern = False
session = onnxruntime.InferenceSession(sys.argv[1], options)
metadata = session.get_modelmeta().custom_metadata_map
class_names, resize = json.loads(metadata["class_names"]), json.loads(metadata["preprocessing"])["resize"]
for path in sys.argv[2:]:
    image, (down, across) = read(path, resize)
    for box, score, label in zip(*detect(session, image), strict=True):
        box = (box / [across, down, across, down]).round(2).tolist()
        print(json.dumps({"file": path, "label": class_names[label - 1], "score": round(float(score), 5), "box": box}))

"""Detect objects with an ONNX file of `vertebra export`, by numpy, onnxruntime and Pillow alone.

python detect_without_torch.py model.onnx photo.jpg ...     prints a line of JSON for each detection
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def read(path, resize):
    """Return an image (H, W, 3) uint8 as the network sees it, and the factors of its height and its width."""
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    width, height = image.size
    scale = min(resize["short"][-1] / min(width, height), resize["longest"] / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if scale < 0.5:  # area means, as in training
        resized = image.resize(size, Image.Resampling.BOX)
    else:
        resized = image.transform(size, Image.Transform.EXTENT, (0, 0, width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized), (size[1] / height, size[0] / width)


def detect(session, image):
    """Return boxes (D, 4) xyxy in pixels, scores (D,) and labels (D,) from 1 on, best score first."""
    sizes = np.array([image.shape[:2]])
    padding = -sizes[0] % 32  # training pads to multiples of 32
    padded = np.pad(image, ((0, padding[0]), (0, padding[1]), (0, 0)))
    images = padded.transpose(2, 0, 1)[None]
    names = ["boxes", "scores", "labels", "count"]
    *columns, count = session.run(names, {"images": images, "sizes": sizes})
    return [column[0, : count[0]] for column in columns]


session = onnxruntime.InferenceSession(sys.argv[1])
metadata = session.get_modelmeta().custom_metadata_map
class_names, resize = json.loads(metadata["class_names"]), json.loads(metadata["preprocessing"])["resize"]
for path in sys.argv[2:]:
    image, (down, across) = read(path, resize)
    for box, score, label in zip(*detect(session, image), strict=True):
        box = (box / [across, down, across, down]).round(2).tolist()
        print(json.dumps({"file": path, "label": class_names[label - 1], "score": round(float(score), 5), "box": box}))

"""Networks whose exported files are timed; without torch, for the command line's help."""

from __future__ import annotations

from typing import NamedTuple


class Exported(NamedTuple):
    """A network by the name of its function.

    Attributes:
        task: package of the function.
        backbone: by default.
        shape: of an input without its batch.
    """

    task: str
    backbone: str
    shape: tuple[int, ...]


NETWORKS = {
    "image_classifier": Exported("classification", "resnet50", (3, 224, 224)),
    "deeplabv3": Exported("segmentation", "resnet50", (3, 512, 512)),
    "faster_rcnn": Exported("detection", "resnet50", (3, 480, 640)),
    "retinanet": Exported("detection", "resnet50", (3, 480, 640)),
    "video_classifier": Exported("video", "slowfast_r50", (3, 32, 224, 224)),
    "medical_classifier": Exported("medical", "resnet18_3d", (1, 64, 64, 64)),
}

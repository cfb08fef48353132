"""Registry of benchmarked tasks; imports nothing heavy, so that `vertebra benchmark --help` returns at once."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple


class Task(NamedTuple):
    """Benchmark defaults of a task; its contenders are defined in `vertebra.tools.benchmarks.<task>`.

    Attributes:
        network: architecture, ours and the peer's.
        peers: packages that the peer's network comes from; their versions are recorded.
        backbones: one table each.
        shape: (C, H, W) or (C, D, H, W) of an input.
        batch: batch size.
        frames: length of a clip; None for images and volumes.
        note: footnote of the table.
    """

    network: str
    peers: tuple[str, ...]
    backbones: tuple[str, ...]
    shape: tuple[int, ...]
    batch: int = 2
    frames: int | None = None
    note: str = "In bf16, our norms are folded into the convolutions for inference."

    @property
    def size(self) -> tuple[int, ...]:
        """(H, W), (T, H, W) or (D, H, W) of an input."""
        return (*((self.frames,) if self.frames else ()), *self.shape[1:])


# inputs smaller than in practice, so that a CPU can run the benchmarks
_detector = partial(
    Task,
    shape=(3, 320, 320),
    note="Inference is on a single image; in bf16, our norms are folded into the convolutions.",
)
# network -> the benchmark of a detector; each is a choice of `contenders`
DETECTORS = {
    "faster_rcnn": _detector("Faster R-CNN", ("torchvision", "detectron2"), ("resnet50",)),
    "mask_rcnn": _detector("Mask R-CNN", ("torchvision",), ("resnet50",)),
    "retinanet": _detector("RetinaNet", ("torchvision",), ("resnet50",)),
    "fcos": _detector("FCOS", ("torchvision",), ("resnet50",)),
    "ssd300": _detector("SSD300", ("torchvision",), ("vgg16_atrous",)),
    "yolox": _detector("YOLOX", ("pixeltable-yolox",), ("cspdarknet_s",)),
    "rt_detr": _detector("RT-DETR", ("transformers",), ("resnet50d",)),
}
TASKS = {
    "detection": DETECTORS["faster_rcnn"],
    "segmentation": Task("DeepLabV3", ("torchvision", "segmentation_models_pytorch"), ("resnet50",), (3, 320, 320)),
    "video": Task(
        "video classifier",
        ("torchvision", "pytorchvideo"),
        ("r2plus1d_18", "slowfast_r50"),
        (3, 112, 112),
        batch=8,  # this and the sizes are the defaults of `VideoData`
        frames=16,
    ),
    "medical": Task("3-D classifier", ("monai",), ("resnet18_3d",), (1, 64, 64, 64)),
}

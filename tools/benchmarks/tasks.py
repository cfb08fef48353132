"""The tasks that `vertebra benchmark` times; imports nothing, so that its help comes at once."""

from __future__ import annotations

from typing import NamedTuple


class Task(NamedTuple):
    """What is timed of a task: the contenders of `vertebra.tools.benchmarks.<task>`.

    Attributes:
        network: ours, and the peer's.
        peers: packages that the peer's network may come from.
        backbones: of the network; each makes a table.
        shape: of an input: channels, then height and width, or all three axes of a volume.
        batch: inputs in a batch.
        frames: of an input that is a clip.
        note: stands below the table.
    """

    network: str
    peers: tuple[str, ...]
    backbones: tuple[str, ...]
    shape: tuple[int, ...]
    batch: int = 2
    frames: int | None = None
    note: str = "In bf16, our norms are folded for inference."

    @property
    def size(self) -> tuple[int, ...]:
        """Of an input, with frames first if it is a clip."""
        return (*((self.frames,) if self.frames else ()), *self.shape[1:])


TASKS = {
    "detection": Task(
        "Faster R-CNN",
        ("torchvision", "detectron2"),
        ("resnet50",),
        (3, 320, 320),
        note="Inference on one image; in bf16, our norms are folded for it.",
    ),
    "segmentation": Task("DeepLabV3", ("torchvision", "segmentation_models_pytorch"), ("resnet50",), (3, 320, 320)),
    "video": Task(
        "classifier of clips",
        ("torchvision", "pytorchvideo"),
        ("r2plus1d_18", "slowfast_r50"),
        (3, 112, 112),
        batch=8,  # as all of it is in `VideoData` by default
        frames=16,
    ),
    "medical": Task("classifier of volumes", ("monai",), ("resnet18_3d",), (1, 64, 64, 64)),
}

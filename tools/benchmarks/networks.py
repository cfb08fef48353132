"""The contenders of a task in turn: training steps, inference and memory."""

from __future__ import annotations

import importlib
from typing import NamedTuple

from tools.benchmarks.table import RATIO, Table
from tools.benchmarks.timing import Spread, inference, memory_of_a_step, ratios, time_in_turn, training_step


class Task(NamedTuple):
    """What is timed of a task: the contenders of `tools.benchmarks.<task>`.

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
        """The shape without channels, with frames first."""
        return (() if self.frames is None else (self.frames,)) + self.shape[1:]


TASKS = {
    "detection": Task(
        "Faster R-CNN",
        ("torchvision",),
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

COLUMNS = (
    "training step, s",
    f"training{RATIO}",
    "inference, s",
    f"inference{RATIO}",
    "memory, MiB",
    "of the first, %",
)


def table_of(name: str, backbone: str, batch: int, size: tuple[int, ...], rounds: int) -> Table:
    """Time a task's contenders; ratios are to the first, which is the peer's network as it comes.

    Args:
        name: of the task.
        backbone: of the network.
        batch: inputs in a batch.
        size: of an input, with frames first if it is a clip.
        rounds: that count.
    """
    task = TASKS[name]
    entries = importlib.import_module(f"tools.benchmarks.{name}").contenders(backbone, batch, size)
    works = [entry.build() for entry in entries]
    trained = time_in_turn([training_step(*pair) for pair in zip(entries, works, strict=True)], rounds)
    used = time_in_turn([inference(*pair) for pair in zip(entries, works, strict=True)], rounds)
    del works
    memory = [memory_of_a_step(entry) for entry in entries]
    shape = " x ".join(map(str, (batch, task.shape[0], *size)))
    table = Table(f"{task.network}, {backbone}, {shape}", COLUMNS, ("torch", *task.peers), rounds, notes=(task.note,))
    for entry, training, using, peak in zip(entries, trained, used, memory, strict=True):
        table.rows[entry.name] = (
            Spread.of(training),
            ratios(training, trained[0]),
            Spread.of(using),
            ratios(using, used[0]),
            peak,
            100 * peak / memory[0],
        )
    return table

"""Workloads of the GPU benchmark, at sizes that fill a GPU, and who takes part in each."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

from vertebra.tasks.training.cuda_graphs import replay_graphs
from vertebra.tools.benchmarks.detectors.inputs import draw
from vertebra.tools.benchmarks.timing import Contender, Workload


class Case(NamedTuple):
    """One table of the benchmark.

    Attributes:
        title: what is measured, without its size.
        task: file of `vertebra.tools.benchmarks` that builds the networks.
        backbone: registered name, which is also the peer's.
        batch: batch size.
        size: (H, W), (T, H, W) or (D, H, W) of an input.
        peer: library that the peer's network is from.
        training: whether a training step is measured, or inference.
        options: further arguments of the task's `workload`.
    """

    title: str
    task: str
    backbone: str
    batch: int
    size: tuple[int, ...]
    peer: str = "torchvision"
    training: bool = True
    options: Mapping[str, Any] = {}

    @property
    def unit(self) -> str:
        """Plural noun of its inputs."""
        return {"video": "clips", "medical": "volumes"}.get(self.task, "images")

    @property
    def full_title(self) -> str:
        """Title with kind of work and size."""
        work = "training step" if self.training else "inference"
        return f"{self.title}, {self.backbone}, {work}, {' x '.join(map(str, (self.batch, *self.size)))}"


def _detector(title: str, network: str, batch: int = 16, training: bool = True, **options: Any) -> Case:
    options |= {"network": network}
    return Case(title, "detection", "resnet50", batch, (800, 1344), training=training, options=options)


# the most valuable first, since time may run out
CASES = {
    "faster_rcnn": _detector("Faster R-CNN", "faster_rcnn"),
    "faster_rcnn_finetuned": _detector("Faster R-CNN with frozen norms, stem and C2", "faster_rcnn", finetuned=True),
    "faster_rcnn_one": _detector("Faster R-CNN", "faster_rcnn", 1, training=False),
    "faster_rcnn_eight": _detector("Faster R-CNN", "faster_rcnn", 8, training=False),
    "resnet": Case("image classifier", "classification", "resnet50", 256, (224, 224)),
    "mask_rcnn": _detector("Mask R-CNN", "mask_rcnn"),
    "retinanet": _detector("RetinaNet", "retinanet"),
    "deeplabv3": Case("DeepLabV3", "segmentation", "resnet50", 16, (512, 512)),
    "r2plus1d": Case("video classifier", "video", "r2plus1d_18", 32, (16, 112, 112)),
    "slowfast": Case("video classifier", "video", "slowfast_r50", 16, (32, 224, 224), "pytorchvideo"),
    "resnet_3d": Case("3-D classifier", "medical", "resnet18_3d", 16, (96, 96, 96), "MONAI"),
    "fcos": _detector("FCOS", "fcos"),
}


def contenders(case: Case, compiled: bool = True) -> list[Contender]:
    """Return the peer and ours in bfloat16 and channels_last, in 3-D also in the contiguous format, then ours compiled.

    In place of a compiled training step there is inference with CUDA graphs.

    Args:
        case: the workload.
        compiled: whether ours is also measured compiled.
    """
    build = partial(_workload, case)
    # the fused optimizer for all: the comparison is of networks and not of optimizers
    entries = [
        Contender(case.peer, partial(build, False, True), bf16=True, fused=True),
        Contender("ours", partial(build, True, True), bf16=True, folded=True, fused=True),
    ]
    if len(case.size) == 3:
        entries += [
            Contender(f"{name}, contiguous", partial(build, ours, False), bf16=True, fused=True)
            for name, ours in ((case.peer, False), ("ours", True))
        ]
    if not case.training:
        graphed = partial(build, True, True, graphed=True)
        entries.append(Contender("ours, CUDA graphs", graphed, bf16=True, folded=True))
    elif compiled:
        entries.append(Contender("ours, compiled", entries[1].build, bf16=True, fused=True, compiled=True))
    return entries


def _workload(case: Case, ours: bool, fast: bool, graphed: bool = False) -> Workload:
    module = importlib.import_module(f"vertebra.tools.benchmarks.{case.task}")
    work = module.workload(ours, fast, case.backbone, case.batch, case.size, **case.options)
    if case.task == "detection":
        # the other benchmark of detectors infers on one image of its batch
        images = list(draw(case.batch, case.size, fast).images)  # type: ignore[arg-type]  # two sides
        work = work._replace(infer=lambda model: model(images))
    if graphed:
        replay_graphs(work.network)
    return work

"""What is exported of a run, and what it is compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from vertebra.tasks.training.normalize import Normalize
from vertebra.tools.exporting.comparison import Comparison, Result, first_input
from vertebra.tools.exporting.compiled_file import AOTI, CompiledDetector, CompiledNetwork
from vertebra.tools.exporting.exported_network import ExportedNetwork, folded
from vertebra.tools.exporting.onnx_file import OnnxDetector, OnnxNetwork
from vertebra.tools.exporting.program_file import ProgramDetector, ProgramNetwork
from vertebra.tools.exporting.signature import COUNT, Signature, signature_of
from vertebra.tools.trained.run import Run

Readers = Mapping[str, Callable[[Path], nn.Module]]


class ExportPlan(NamedTuple):
    """What is exported of a run, and what it is compared with.

    Attributes:
        signature: of the file.
        network: that is traced.
        eager: the network of the run, which takes and returns what that of `readers` does.
        readers: format of a file (suffix, or `AOTI`) -> file to its network.
        inputs: a real one, a batch of one.
        as_input: a batch of such inputs to what `eager` takes.
        result: of the comparison, to add to.
    """

    signature: Signature
    network: nn.Module
    eager: nn.Module
    readers: Readers
    inputs: Tensor
    as_input: Callable[[Tensor], Any]
    result: Result


def plan_for(run: Run, normalize: Normalize | None, module: Any, batches: Iterable[Any]) -> ExportPlan:
    """Return the plan for a run.

    Args:
        run: the run.
        normalize: of the inputs in the file; None where they are normalized outside.
        module: see `vertebra.tools.exporting.comparison.prepared`.
        batches: of the task's data.

    Raises:
        ValueError: networks of the task cannot be exported, or no sample can be read.
    """
    if run.task == "detection":
        return _detector_plan(run, normalize, module, batches)
    eager = ExportedNetwork(run.network, normalize).eval()
    inputs = first_input(module, eager, batches)[:1].clone()
    signature = signature_of(run.task, run.network, inputs.dim())
    network = ExportedNetwork(folded(run.network), normalize).eval()
    result = Comparison(getattr(module, "exclusive", True))
    readers: Readers = {
        ".onnx": OnnxNetwork,
        ".pt2": partial(ProgramNetwork, signature=signature),
        AOTI: partial(CompiledNetwork, signature=signature),
    }
    return ExportPlan(signature, network, eager, readers, inputs, lambda inputs: inputs, result)


def _detector_plan(run: Run, normalize: Normalize | None, module: Any, batches: Iterable[Any]) -> ExportPlan:
    from vertebra.tasks.detection.networks.detector import Detector
    from vertebra.tasks.detection.parts.batch import ImageBatch
    from vertebra.tools.exporting.detection_comparison import DetectionComparison
    from vertebra.tools.exporting.exported_detector import EagerDetector, ExportedDetector

    detector = cast(Detector, run.network)
    eager = EagerDetector(ExportedDetector(detector, normalize)).eval()
    first = ImageBatch(*(x[:1].clone() for x in first_input(module, eager, batches)))
    with torch.inference_mode():
        columns = detector.find(eager.exported.batch(*first)).columns
    signature = signature_of(run.task, detector, first.images.dim())._replace(outputs=(*columns, COUNT))
    network = ExportedDetector(folded(detector), normalize).eval()

    def whole(images: Tensor) -> ImageBatch:
        return ImageBatch(images, torch.tensor([images.shape[2:]]).repeat(len(images), 1))

    readers: Readers = {
        ".onnx": OnnxDetector,
        ".pt2": partial(ProgramDetector, signature=signature),
        AOTI: partial(CompiledDetector, signature=signature),
    }
    return ExportPlan(signature, network, eager, readers, first.images, whole, DetectionComparison())

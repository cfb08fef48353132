"""Benchmark of exported files: an ONNX file in onnxruntime against the same network in eager mode."""

from __future__ import annotations

import importlib
import tempfile
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vertebra.tools.benchmarks.exports import NETWORKS
from vertebra.tools.benchmarks.table import Table, compare_throughput
from vertebra.tools.exporting.exported_detector import ExportedDetector
from vertebra.tools.exporting.exported_network import ExportedNetwork, example_input, folded
from vertebra.tools.exporting.onnx_file import OnnxModule, write_onnx
from vertebra.tools.exporting.signature import COUNT, Signature, signature_of

NUM_CLASSES = 20
PACKAGES = ("torch", "torchvision", "onnx", "onnxscript", "onnxruntime")


def measure(
    name: str, rounds: int, backbone: str | None = None, batch: int = 1, size: Sequence[int] | None = None
) -> Table:
    """Export a network of random weights, and time its file beside the network on the CPU.

    Args:
        name: of `NETWORKS`.
        rounds: number of measured rounds.
        backbone: its own if not given.
        batch: number of samples.
        size: height and width; its own if not given.

    Raises:
        ValueError: the network cannot be exported.
    """
    case = NETWORKS[name]
    tasks: Any = importlib.import_module(f"vertebra.tasks.{case.task}")
    torch.manual_seed(0)
    network = getattr(tasks, name)(backbone or case.backbone, NUM_CLASSES).eval().requires_grad_(False)
    shape = (batch, *case.shape[:-2], *(size or case.shape[-2:]))
    signature = signature_of(case.task, network, len(shape))
    inputs = tuple(signature.inputs(torch.randn(shape)).values())
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        runs = _runs(network, signature, inputs, file)
        if name in ("faster_rcnn", "retinanet"):
            runs |= _torchvision(name, inputs[0], Path(folder) / "torchvision.onnx")
        title = f"{name} with {backbone or case.backbone}, {' x '.join(map(str, shape))}, inference"
        device = f"{torch.get_num_threads()} threads of the CPU"
        return compare_throughput(title, runs, (batch, "samples"), PACKAGES, rounds, device)


def _runs(
    network: Any, signature: Signature, inputs: tuple[Tensor, ...], file: Path
) -> dict[str, Callable[[], object]]:
    """Return the eager network in two precisions, and its file."""
    if signature.takes_sizes:
        with torch.inference_mode():
            columns = network.find(ExportedDetector(network, None).batch(*inputs)).columns
        signature = signature._replace(outputs=(*columns, COUNT))
    wrap: Any = ExportedDetector if signature.takes_sizes else ExportedNetwork
    exported = wrap(folded(network), None).eval()
    write_onnx(exported, example_input(tuple(inputs[0].shape), signature, torch.float32), signature, {}, file)
    in_file = OnnxModule(file)
    eager, fast = wrap(network, None).eval(), wrap(folded(network), None).eval().to(memory_format=torch.channels_last)
    return {
        "eager, float32": lambda: _infer(eager, inputs),
        "eager, bf16, channels_last, folded norms": lambda: _infer(fast, inputs, bf16=True),
        "ONNX file in onnxruntime, float32": lambda: in_file.run_file(*inputs),
    }


@torch.inference_mode()
def _infer(network: nn.Module, inputs: tuple[Tensor, ...], bf16: bool = False) -> None:
    first = inputs[0].contiguous(memory_format=torch.channels_last) if bf16 and inputs[0].dim() == 4 else inputs[0]
    with torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext():
        if isinstance(network, ExportedDetector):  # in eager mode there are as many rows as detections
            network.network.find(network.batch(first, *inputs[1:]))
        else:
            network(first)


def _torchvision(name: str, images: Tensor, file: Path) -> dict[str, Callable[[], object]]:
    """Return torchvision's network in its own export, which has fixed sizes; nothing where that fails."""
    import onnxruntime
    from torchvision.models import detection

    build = {"faster_rcnn": detection.fasterrcnn_resnet50_fpn, "retinanet": detection.retinanet_resnet50_fpn}[name]
    options = {"min_size": min(images.shape[2:]), "max_size": max(images.shape[2:])}
    network = build(weights=None, weights_backbone=None, num_classes=NUM_CLASSES + 1, **options).eval()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(network, (list(images),), str(file), dynamo=False, opset_version=17)
    except Exception as error:  # of an exporter that torch has deprecated
        print(f"torchvision's own export fails: {type(error).__name__}")
        return {}
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    feed = {one.name: image.numpy() for one, image in zip(session.get_inputs(), images, strict=True)}
    return {"torchvision's export in onnxruntime, float32": lambda: session.run(None, feed)}

"""Export of a run: the file, its comparison with the eager network, and their record."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vertebra.tools.exporting.comparison import Result, compare, compare_shapes, prepared
from vertebra.tools.exporting.compiled_file import AOTI, require_compiler, write_compiled
from vertebra.tools.exporting.draft import draft_of
from vertebra.tools.exporting.exported_network import example_input
from vertebra.tools.exporting.onnx_file import write_onnx
from vertebra.tools.exporting.program_file import write_program
from vertebra.tools.exporting.signature import SIZES, Signature, signature_of
from vertebra.tools.trained.assembly import portable_config
from vertebra.tools.trained.checkpoint_file import read_checkpoint
from vertebra.tools.trained.export_plan import ExportPlan, plan_for
from vertebra.tools.trained.location import run_folder
from vertebra.tools.trained.run import Run, load
from vertebra.tools.trained.run_data import validation_batches
from vertebra.tools.trained.shared_folder import described_entries

RECORD = "export.json"
_WRITERS = {".onnx": write_onnx, ".pt2": write_program, AOTI: write_compiled}


def export_run(
    path: Path,
    output: Path | None = None,
    normalized: bool = False,
    images: Sequence[Path] | None = None,
    trust: bool = False,
    compiled: bool = False,
) -> str:
    """Export the network of a run, and compare the file with it.

    Args:
        path: of the run.
        output: the file, .onnx or .pt2; `export/model.onnx` in the run folder if not given, or `.pt2` if compiled.
        normalized: whether the file takes normalized inputs.
        images: samples to compare on; the validation split of the run if not given.
        trust: see `vertebra.load`.
        compiled: whether a .pt2 file is compiled by AOTInductor.

    Returns:
        What was written, and how it compares.

    Raises:
        FileNotFoundError: there is no such run, or its data set is not there.
        ValueError: the network cannot be exported, the file differs from it, or cannot be written, or there is no
            compiler.
    """
    if compiled:
        require_compiler()
    run = load(path, device="cpu", trust=trust)
    signature_of(run.task, run.network, 4)  # before any data are read
    normalize = None if normalized else getattr(run.module, "normalize", None)
    batches = run.loader(list(images)) if images is not None else validation_batches(run)
    module = prepared(run.module, normalizes=normalize is not None)
    plan = plan_for(run, normalize, module, batches)
    signature, inputs = plan.signature, plan.inputs
    file = output or run_folder(run.path) / "export" / ("model.pt2" if compiled else "model.onnx")
    with draft_of(file) as draft:
        entries = entries_of(run, plan, trust)
        write_compared(plan, module, batches, images is None, entries, draft, file, compiled)
    size, result = file.stat().st_size / 1e6, plan.result
    add_record(file, RECORD, _recorded(signature, inputs, result))
    return f"{file} ({size:.1f} MB)\n{_described(signature, inputs)}\n{_summary(result)}"


def write_compared(
    plan: ExportPlan,
    module: Any,
    batches: Iterable[Any],
    labeled: bool,
    entries: Mapping[str, Any],
    draft: Path,
    file: Path,
    compiled: bool = False,
) -> nn.Module:
    """Write the network of a plan, and compare what is written with the eager network.

    Args:
        plan: see `plan_for`; the comparison is added to its result.
        module: see `plan_for`.
        batches: of the task's data.
        labeled: whether they have labels.
        entries: metadata.
        draft: file to write.
        file: its later name, whose suffix chooses the format.
        compiled: whether a .pt2 file is compiled by AOTInductor.

    Returns:
        The network of the file.

    Raises:
        ValueError: the network cannot be exported, or the file differs from it.
    """
    signature, inputs, result = plan.signature, plan.inputs, plan.result
    example = example_input(tuple(inputs.shape), signature, inputs.dtype)
    kind = AOTI if compiled else file.suffix
    _WRITERS[kind](plan.network, example, signature, entries, draft)
    exported = plan.readers[kind](draft)
    compare(result, module, plan.eager, exported, batches, labeled, signature.takes_studies)
    compare_shapes(result, plan.eager, exported, inputs, signature.axes, plan.as_input)
    if (fault := result.fault()) is not None:
        raise ValueError(f"{file}: is not written: {fault}. Please report it with the config.yaml of the run.")
    return exported


def entries_of(run: Run, plan: ExportPlan, trust: bool) -> dict[str, Any]:
    """Return the metadata of an exported file of a run."""
    signature, inputs, content = plan.signature, plan.inputs, read_checkpoint(run.path)
    described = {
        "task": run.task,
        "preprocessing": {**run.preprocessing, "normalized_inside": inputs.dtype == torch.uint8},
        "input": signature.input,
        "outputs": list(signature.outputs),
    }
    if run.task != "detection":  # whose outputs are scores
        described["scores"] = "softmax" if getattr(run.module, "exclusive", True) else "sigmoid"
    return described_entries(content, portable_config(run.path, content, trust), described)


def _described(signature: Signature, inputs: torch.Tensor) -> str:
    lengths = [name or str(size) for name, size in zip(signature.axes, inputs.shape, strict=True)]
    kind = str(inputs.dtype).removeprefix("torch.")
    meaning = "pixels 0..255, normalized inside" if inputs.dtype == torch.uint8 else "normalized outside"
    sizes = f"; {SIZES} (batch, 2) int64, height and width without padding" * signature.takes_sizes
    outputs = f"output{'s' * (len(signature.outputs) > 1)} {', '.join(signature.outputs)}"
    return f"input   {signature.input} ({', '.join(lengths)}) {kind}, {meaning}{sizes}; {outputs}"


def _summary(result: Result) -> str:
    lines = [f"compared on {result.samples} samples and {len(result.shapes)} input shapes: {result.summary()}"]
    lines += [f"  {name}: eager {eager:.5f}, file {file:.5f}" for name, (eager, file) in result.metrics.items()]
    return "\n".join(lines)


def _recorded(signature: Signature, inputs: torch.Tensor, result: Result) -> dict[str, Any]:
    return {
        "input": signature.input,
        "axes": [name or size for name, size in zip(signature.axes, inputs.shape, strict=True)],
        "dtype": str(inputs.dtype).removeprefix("torch."),
        "samples": result.samples,
        "shapes": [list(shape) for shape in result.shapes],
        **result.record(),
        "metrics": {name: {"eager": eager, "file": other} for name, (eager, other) in result.metrics.items()},
    }


def add_record(file: Path, name: str, record: Mapping[str, Any]) -> None:
    """Add the record of a file to `name` beside it, which has an entry for each file of the folder."""
    path = file.parent / name
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        entries = {}
    entries[file.name] = record
    with draft_of(path) as draft:
        draft.write_text(json.dumps(entries, indent=1), encoding="utf-8")

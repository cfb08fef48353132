"""Export of a run: the file, its comparison with the eager network, and their record."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from vertebra.tools.exporting.comparison import Result, compare, compare_shapes, prepared
from vertebra.tools.exporting.draft import draft_of
from vertebra.tools.exporting.exported_network import example_input
from vertebra.tools.exporting.onnx_file import write_onnx
from vertebra.tools.exporting.program_file import write_program
from vertebra.tools.exporting.signature import SIZES, Signature, signature_of
from vertebra.tools.trained.assembly import portable_config, training_data
from vertebra.tools.trained.checkpoint_file import read_checkpoint
from vertebra.tools.trained.export_plan import plan_for
from vertebra.tools.trained.location import run_folder
from vertebra.tools.trained.run import Run, load
from vertebra.tools.trained.shared_folder import described_entries

RECORD = "export.json"
_WRITERS = {".onnx": write_onnx, ".pt2": write_program}


def export_run(
    path: Path,
    output: Path | None = None,
    normalized: bool = False,
    images: Sequence[Path] | None = None,
    trust: bool = False,
) -> str:
    """Export the network of a run, and compare the file with it.

    Args:
        path: of the run.
        output: the file, .onnx or .pt2; `export/model.onnx` in the run folder if not given.
        normalized: whether the file takes normalized inputs.
        images: samples to compare on; the validation split of the run if not given.
        trust: see `vertebra.load`.

    Returns:
        What was written, and how it compares.

    Raises:
        FileNotFoundError: there is no such run, or its data set is not there.
        ValueError: the network cannot be exported, the file differs from it, or cannot be written.
    """
    run = load(path, device="cpu", trust=trust)
    signature_of(run.task, run.network, 4)  # before any data are read
    normalize = None if normalized else getattr(run.module, "normalize", None)
    batches = _batches(run, images)
    module = prepared(run.module, normalizes=normalize is not None)
    plan = plan_for(run, normalize, module, batches)
    signature, inputs = plan.signature, plan.inputs
    file = output or run_folder(run.path) / "export" / "model.onnx"
    with draft_of(file) as draft:
        example = example_input(tuple(inputs.shape), signature, inputs.dtype)
        _WRITERS[file.suffix](plan.network, example, signature, _entries(run, signature, inputs, trust), draft)
        exported, result = plan.readers[file.suffix](draft), plan.result
        compare(result, module, plan.eager, exported, batches, images is None, signature.takes_studies)
        compare_shapes(result, plan.eager, exported, inputs, signature.axes, plan.as_input)
        if (fault := result.fault()) is not None:
            raise ValueError(f"{file}: is not written: {fault}. Please report it with the config.yaml of the run.")
    size = file.stat().st_size / 1e6
    _write_record(file, signature, inputs, result)
    return f"{file} ({size:.1f} MB)\n{_described(signature, inputs)}\n{_summary(result)}"


def _batches(run: Run, images: Sequence[Path] | None) -> Iterable[Any]:
    if images is not None:
        return run.loader(list(images))
    data = training_data(run_folder(run.path) / "config.yaml")
    data.num_workers = 0
    if tuple(data.class_names) != run.class_names:
        raise ValueError(
            f"{run_folder(run.path)}: the data set has the classes {', '.join(data.class_names[:8])}, and the model "
            f"{', '.join(run.class_names[:8])}; give samples with --images PATH."
        )
    return data.val_dataloader()


def _entries(run: Run, signature: Signature, inputs: torch.Tensor, trust: bool) -> dict[str, Any]:
    content = read_checkpoint(run.path)
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


def _write_record(file: Path, signature: Signature, inputs: torch.Tensor, result: Result) -> None:
    """Add the comparison to the record beside the file, which has an entry for each file of the folder."""
    record = file.parent / RECORD
    try:
        entries = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        entries = {}
    entries[file.name] = {
        "input": signature.input,
        "axes": [name or size for name, size in zip(signature.axes, inputs.shape, strict=True)],
        "dtype": str(inputs.dtype).removeprefix("torch."),
        "samples": result.samples,
        "shapes": [list(shape) for shape in result.shapes],
        **result.record(),
        "metrics": {name: {"eager": eager, "file": other} for name, (eager, other) in result.metrics.items()},
    }
    with draft_of(record) as draft:
        draft.write_text(json.dumps(entries, indent=1), encoding="utf-8")

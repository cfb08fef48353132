"""Quantization of a run: the int8 file, what it gains and loses, and their record."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils.data import DataLoader

from vertebra.tools.exporting.comparison import Result, prepared
from vertebra.tools.exporting.draft import draft_of
from vertebra.tools.exporting.signature import signature_of
from vertebra.tools.quantizing.inputs import recorded_inputs
from vertebra.tools.quantizing.int8_file import METHOD, Int8Writer
from vertebra.tools.quantizing.latency import describe_latency, measure_latency
from vertebra.tools.trained.export_plan import ExportPlan, plan_for
from vertebra.tools.trained.exporting_run import add_record, entries_of, write_compared
from vertebra.tools.trained.location import is_exported, run_folder
from vertebra.tools.trained.quantized_layers import TOLERANCE, Choice, Trials
from vertebra.tools.trained.run import Run, load
from vertebra.tools.trained.run_data import training_batches, validation_batches
from vertebra.tools.trained.tuning_record import Tuning, read_tuning

RECORD = "quantize.json"
_CALIBRATION = 128  # samples of the training split
_RANKED = 32  # for the effect of each group of layers


class Samples(NamedTuple):
    """Batches for calibration, for the effects of layers, and for the comparison."""

    calibration: DataLoader
    ranked: DataLoader
    compared: DataLoader

    @property
    def calibrated(self) -> int:
        return len(self.calibration.dataset)  # type: ignore[arg-type]


class Planned(NamedTuple):
    """A quantization before anything is written.

    Attributes:
        plan: of the export.
        module: of the task, see `vertebra.tools.exporting.comparison.prepared`.
        samples: to calibrate and compare on.
        labeled: whether they have labels.
    """

    plan: ExportPlan
    module: Any
    samples: Samples
    labeled: bool


class Calibrated(NamedTuple):
    """A float32 file, and what int8 files are made of it with.

    Attributes:
        path: of the float32 file.
        network: of the float32 file.
        writer: of int8 files.
        trials: of int8 files.
    """

    path: Path
    network: nn.Module
    writer: Int8Writer
    trials: Trials


def quantize_run(
    path: Path,
    output: Path | None = None,
    normalized: bool = False,
    images: Sequence[Path] | None = None,
    report: bool = False,
    trust: bool = False,
) -> str:
    """Write the network of a run to an int8 ONNX file, and measure it beside the float32 file.

    Args:
        path: of the run.
        output: the file, .onnx; `export/model_int8.onnx` in the run folder if not given.
        normalized: whether the file takes normalized inputs.
        images: samples to calibrate and compare on; those of the training and the validation split if not given.
        report: whether to rank the layers by their effect also where all of them can be int8.
        trust: see `vertebra.load`.

    Returns:
        What was written, and what it gains and loses.

    Raises:
        FileNotFoundError: there is no such run, or its data set is not there.
        ValueError: the network cannot be exported or has no layer for int8, or the file cannot be written.
    """
    run = load(path, device="cpu", trust=trust)
    tuning = read_tuning(run_folder(run.path))
    plan, _, samples, _ = planned = plan_quantization(run, normalized, images)
    file = output or run_folder(run.path) / "export" / "model_int8.onnx"
    # beside the file: where the disk is full, the message names the place
    with draft_of(file) as draft, tempfile.TemporaryDirectory(dir=file.parent, prefix=f".{file.stem}.") as folder:
        float_path, float_file, writer, trials = calibrate(run, planned, trust, Path(folder))
        choice = trials.choose(samples.calibration, samples.ranked, samples.calibrated, run.task, report)
        described = {"method": METHOD, "calibration": samples.calibrated, "float32": choice.float32}
        writer.write(draft, choice.int8, {"quantization": json.dumps(described)})
        int8_file = plan.readers[".onnx"](draft)
        result = trials.compare(int8_file, samples.compared)
        latency = measure_latency(plan.eager, float_file, int8_file, plan.as_input(plan.inputs))
        sizes = float_path.stat().st_size, draft.stat().st_size
    remedy = _remedy(path, run, trials, result, tuning)
    more = {} if tuning is None else {"finetuned": tuning._asdict()}
    add_record(file, RECORD, {**described, **_recorded(plan, result, choice, sizes, latency), **more, "remedy": remedy})
    return "\n".join(
        [
            f"{file} ({sizes[1] / 1e6:.1f} MB, the float32 file {sizes[0] / 1e6:.1f} MB)",
            f"calibrated on {samples.calibrated} samples: {METHOD}",
            *_layers(choice),
            *_metrics(plan, result, run, tuning),
            *([] if remedy is None else [remedy]),
            describe_latency(latency, tuple(plan.inputs.shape)),
        ]
    )


def plan_quantization(run: Run, normalized: bool, images: Sequence[Path] | None) -> Planned:
    """Return what is quantized of a run, and on which samples; arguments and errors as of `quantize_run`."""
    if is_exported(run.path):
        raise ValueError(f"{run.path}: is an exported file; give the run that it was exported from.")
    signature_of(run.task, run.network, 4)  # before any data are read
    normalize = None if normalized else getattr(run.module, "normalize", None)
    samples = _samples(run, images)
    module = prepared(run.module, normalizes=normalize is not None)
    return Planned(plan_for(run, normalize, module, samples.calibration), module, samples, images is None)


def calibrate(run: Run, planned: Planned, trust: bool, folder: Path) -> Calibrated:
    """Write the float32 file of a run to a folder, and calibrate it.

    Raises:
        ValueError: the network cannot be exported, or has no layer for int8.
    """
    plan, module, samples, labeled = planned
    path = folder / "float32.onnx"
    entries = entries_of(run, plan, trust)
    network = write_compared(
        plan, module, samples.compared, labeled, entries, path, run_folder(run.path) / "model.onnx"
    )
    writer = Int8Writer(path, folder)
    if not writer.layers:
        raise ValueError(
            f"{type(run.network).__name__} has no convolution and no linear layer that can be int8; export it in "
            "float32 with `vertebra export`."
        )
    writer.calibrate(recorded_inputs(module, samples.calibration, plan.signature.takes_studies))
    return Calibrated(path, network, writer, Trials(plan, module, network, writer, folder / "trial.onnx", labeled))


def _samples(run: Run, images: Sequence[Path] | None) -> Samples:
    if images is not None:
        return Samples(*[run.loader(list(images))] * 3)
    return Samples(training_batches(run, _CALIBRATION), training_batches(run, _RANKED), validation_batches(run))


def _recorded(
    plan: ExportPlan, result: Result, choice: Choice, sizes: tuple[int, int], latency: dict[str, float]
) -> dict[str, Any]:
    return {
        "int8": choice.int8,
        "calibration_loss": choice.loss,
        "sensitivity": {group: effect._asdict() for group, effect in choice.effects.items()},
        "bytes": dict(zip(("float32", "int8"), sizes, strict=True)),
        "samples": result.samples,
        "deviation": result.deviation,
        "metrics": {
            name: {"eager": plan.result.metrics[name][0], "float32": before, "int8": after}
            for name, (before, after) in result.metrics.items()
        },
        "latency": {"shape": list(plan.inputs.shape), "threads": torch.get_num_threads(), "seconds": latency},
    }


def _layers(choice: Choice) -> list[str]:
    lines = [f"int8: {len(choice.int8)} of {len(choice.int8) + len(choice.float32)} layers"]
    if choice.float32:
        lines[0] += f"; in float32, since the metric loses more than is tolerated: {', '.join(choice.float32)}"
    if choice.effects:
        by = "the metric loses" if choice.by_loss else "the outputs differ by (the metric is too coarse to rank by)"
        lines.append(f"layers by what {by} with each group alone in int8, on {_RANKED} samples at most:")
        for group, (loss, deviation) in choice.effects.items():
            lost = "" if loss is None else f"metric {0.0 - loss:+.4f}, "
            lines.append(f"  {group}: {lost}outputs {deviation:.4f}")
    return lines


def _remedy(path: Path, run: Run, trials: Trials, result: Result, tuning: Tuning | None) -> str | None:
    """Return how to recover a loss of the metric on the validation split; None where it is tolerated.

    A fine-tuned run is compared with the run before, since fine-tuning changes its own float32 network as well.
    """
    if tuning is None or not tuning.metrics:
        loss, before, more = trials.loss(result), "that of the float32 file", ""
        epochs = max(1, (run.config["trainer"]["max_epochs"] or 1) // 10)
    else:
        loss = trials.loss(result, {name: float32 for name, (float32, _) in tuning.metrics.items()})
        before, more, epochs = "in float32 before the fine-tuning", " further", tuning.epochs
    if loss is None or loss <= TOLERANCE:
        return None
    metric = type(run.module).monitor[0]
    return (
        f"{metric} of the int8 file is {loss:.4f} worse than {before}; fine-tune the network{more} for it: "
        f"vertebra quantize {path} --finetune {epochs}"
    )


def _metrics(plan: ExportPlan, result: Result, run: Run, tuning: Tuning | None) -> list[str]:
    lines = [f"compared with the float32 file on {result.samples} samples: {result.summary()}"]
    if tuning is not None:
        epochs = f"{tuning.epochs} epoch{'s' * (tuning.epochs > 1)}"
        lines.append(f"fine-tuned for {epochs} from {tuning.run} with fake-quantized layers: {run_folder(run.path)}")
        for name, (float32, int8) in tuning.metrics.items():
            lines.append(f"  {name} before: {float32:.4f}, all layers in int8 {int8:.4f} ({int8 - float32:+.4f})")
    for name, (before, after) in result.metrics.items():
        eager = plan.result.metrics[name][0]
        lines.append(
            f"  {name}: eager {eager:.4f}, float32 file {before:.4f}, int8 file {after:.4f} ({after - before:+.4f})"
        )
    return lines

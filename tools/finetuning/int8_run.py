"""Quantization-aware fine-tuning of a run: trained with fake-quantized layers, before they become int8."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import onnx

from vertebra.tasks.training.module import TaskModule
from vertebra.tools.finetuning.tuned_run import fit_tuned, folder_beside, long_flags, recipe_of
from vertebra.tools.quantizing.fake_quantization import Grid, fake_quantize, read_grids
from vertebra.tools.trained.location import run_folder
from vertebra.tools.trained.quantizing_run import Planned, calibrate, plan_quantization
from vertebra.tools.trained.run import Run, load
from vertebra.tools.trained.tuning_record import Tuning, read_tuning, write_tuning

_RATE = 0.01  # of the learning rate of the run, as in Wu et al. 2020, https://arxiv.org/abs/2004.09602


def finetune_int8(
    path: Path, epochs: int, flags: Sequence[str], normalized: bool, images: Sequence[Path] | None, trust: bool
) -> Path:
    """Fine-tune the network of a run with all layers that can be int8 fake-quantized, in a run folder of its own.

    Args:
        path: of the run.
        epochs: of the fine-tuning.
        flags: further ones of `vertebra fit` for the fine-tuning.
        normalized: see `quantize_run`.
        images: see `quantize_run`.
        trust: see `vertebra.load`.

    Returns:
        The folder of the fine-tuned run.

    Raises:
        FileNotFoundError: there is no such run, or its data set is not there.
        ValueError: the network cannot be quantized, or its fine-tuned run is there already.
        SystemExit: the training ended early, and has printed why.
    """
    run = load(path, device="cpu", trust=trust)
    folder = run_folder(run.path)
    output = folder_beside(run, "_int8")
    config = recipe_of(run, output)
    if output.exists() and any(output.iterdir()):
        raise ValueError(f"{output} exists and is not empty; move it, or fine-tune it further by its own path.")
    more = long_flags(flags, config)
    before = read_tuning(folder)
    grids, eager, int8 = _all_int8(run, plan_quantization(run, normalized, images), trust)
    first = eager if before is None else {name: value for name, (value, _) in before.metrics.items()}
    metrics = {name: (first[name], value) for name, value in int8.items() if name in first}
    arguments = config["model"]["init_args"]
    if before is None:  # the rate of a run that was fine-tuned before is that of fine-tuning already
        arguments["optimizer"]["init_args"]["lr"] *= _RATE
    arguments["compile_mode"] = None  # compiled layers would ignore what replaces their weights
    weights = run.network.state_dict()

    def start(module: TaskModule) -> None:
        network = cast(Any, module).network
        network.load_state_dict(weights)
        fake_quantize(network, grids)

    fit_tuned(config, start, epochs, more)
    write_tuning(output, Tuning(str(folder), epochs, metrics))
    return output


def _all_int8(
    run: Run, planned: Planned, trust: bool
) -> tuple[dict[str, list[Grid]], dict[str, float], dict[str, float]]:
    """Return the grids of all layers that can be int8, and the metrics of the eager network and of the int8 file."""
    with tempfile.TemporaryDirectory() as temporary:
        calibrated = calibrate(run, planned, trust, Path(temporary))
        file = Path(temporary) / "int8.onnx"
        calibrated.writer.write(file, calibrated.writer.layers)
        grids = read_grids(onnx.load(str(file)), calibrated.writer.layers)
        result = calibrated.trials.compare(planned.plan.readers[".onnx"](file), planned.samples.compared)
    eager = {name: value for name, (value, _) in planned.plan.result.metrics.items()}
    return grids, eager, {name: value for name, (_, value) in result.metrics.items()}

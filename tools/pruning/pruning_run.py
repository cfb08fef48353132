"""Pruning of a run: groups, importance, plan and fine-tuning, measured before, between and after."""

from __future__ import annotations

import copy
import itertools
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
import yaml
from lightning.pytorch import Trainer
from torch import Tensor, nn

from vertebra.backbones.folding import fold_norms
from vertebra.tasks.detection.networks.detector import Detector
from vertebra.tasks.detection.parts.batch import ImageBatch
from vertebra.tasks.loading.data import TaskData
from vertebra.tasks.loading.files.whole_file import write_whole
from vertebra.tasks.training.module import TaskModule
from vertebra.tasks.training.saving.checkpoint_files import write_checkpoint
from vertebra.tools.experiment.console import silence_chatter
from vertebra.tools.experiment.hardware import default_precision
from vertebra.tools.exporting.draft import draft_of
from vertebra.tools.finetuning.tuned_run import config_file, fit_tuned, folder_beside, long_flags, recipe_of
from vertebra.tools.pruning.estimates import estimate_norms, latencies, macs_of
from vertebra.tools.pruning.groups import find_groups
from vertebra.tools.pruning.importance import Importance, taylor_importance, weight_importance
from vertebra.tools.pruning.plan import changed_widths, make_plan, pruned_network, set_levels
from vertebra.tools.pruning.soundness import TOLERANCE, deviation, sound_groups
from vertebra.tools.trained.assembly import training_data
from vertebra.tools.trained.checkpoint_file import read_checkpoint
from vertebra.tools.trained.run import Run, load

RECORD = "pruning.json"
_BATCHES = 16  # of the training split, for importance and for the statistics of batch norms
_COLLAPSED = 0.5  # of the metric before


class Trial(NamedTuple):
    """One network of a comparison.

    Attributes:
        name: of it.
        metrics: of the validation split, such as `val/map`.
    """

    name: str
    metrics: dict[str, float]


def prune_run(
    path: Path, output: Path | None, speedup: float, importance: Importance, epochs: int | None, flags: Sequence[str]
) -> str:
    """Prune the network of a run and fine-tune it, in a run folder of its own.

    Importance is that for the default loss of the task: a loaded run has no loss of its own.

    Args:
        path: of the run.
        output: folder of the new run; beside the run if not given, with the suffix `_pruned`.
        speedup: wanted ratio of multiply-accumulates, above 1.
        importance: how channels are ranked.
        epochs: of the fine-tuning, 0 for none; a quarter of those of the run if not given.
        flags: further ones of `vertebra fit` for the fine-tuning.

    Returns:
        What was pruned, and how it compares.

    Raises:
        FileNotFoundError: there is no such run, or its data set is not there.
        ValueError: the network cannot be pruned, or the speedup is not reached.
    """
    silence_chatter()
    run = load(path)
    output = output or folder_beside(run, "_pruned")
    if output.exists() and any(output.iterdir()):
        raise ValueError(f"{output} exists and is not empty; give a new folder with --output FOLDER.")
    config = recipe_of(run, output)
    data = training_data(config_file(run))
    if tuple(data.class_names) != run.class_names:
        raise ValueError(
            f"{config_file(run)}: the data set has other classes than the run; give the data that it was trained on."
        )
    more = long_flags(flags, run.config)
    module, network = run.module, run.network
    batches = _training_batches(data, module, run.device)
    inputs = _first_inputs(module, batches)
    trials = [Trial("before", _measure(run, module, data))]
    groups = sound_groups(network, find_groups(network, inputs, _forward), inputs, _forward)
    with _silent(module):
        scores = (
            weight_importance(network, groups)
            if importance == "l2"
            else taylor_importance(network, groups, lambda batch: _loss(module, batch), batches)
        )
        plan = make_plan(network, groups, scores, lambda one: macs_of(partial(_infer, one, inputs)), speedup)
        pruned = pruned_network(network, plan)
        if not (found := deviation(network, plan, inputs, _forward)) <= TOLERANCE:
            raise ValueError(
                "this network cannot be pruned, since torch-pruning's graph does not have all that its channels go "
                f"into: without channels that are zero the outputs change by {found:.2g} of the largest."
            )
        set_levels(pruned, partial(_infer, pruned, inputs))
        module.network = pruned
        estimate_norms(pruned, lambda batch: _loss(module, batch), batches)
    trials.append(Trial("pruned", _measure(run, module, data)))
    arguments = config["model"]["init_args"]
    arguments["widths"] = changed_widths(network, pruned, arguments.get("widths"))
    if epochs is None:
        epochs = max(1, (config["trainer"]["max_epochs"] or 4) // 4)
    record = {
        "run": str(path),
        "importance": importance,
        "channels": {"all": sum(group.channels for group in groups), "pruned": plan.channels()},
        "macs": [macs_of(partial(_infer, one, inputs)) for one in (network, pruned)],
        "parameters": [sum(weight.numel() for weight in one.parameters()) for one in (network, pruned)],
        "latency_ms": _latencies((network, pruned), inputs, run.device),
        "epochs": epochs,
        "metrics": {},
    }
    if epochs:
        weights = {name: value.cpu() for name, value in pruned.state_dict().items()}
        fit_tuned(config, lambda module: cast(Any, module).network.load_state_dict(weights), epochs, more)
        best = load(output, device=run.device)
        trials.append(Trial("fine-tuned", _measure(best, best.module, data)))
    else:
        _write(run, pruned, config, output)
    metric = module.choose_monitor(run.config["model"]["init_args"])[0]
    record["metrics"] = {trial.name: trial.metrics for trial in trials}
    with draft_of(output / RECORD) as draft:
        draft.write_text(json.dumps(record, indent=1), encoding="utf-8")
    return _summary(record, trials, metric, output)


def _training_batches(data: TaskData, module: TaskModule, device: torch.device) -> list[Any]:
    data.num_workers = 0
    loader = data.train_dataloader()
    module.prepare(loader.dataset)
    return [module.transfer_batch_to_device(batch, device, 0) for batch in itertools.islice(loader, _BATCHES)]


@contextmanager
def _silent(module: TaskModule) -> Iterator[None]:
    """Silence the logs of training steps, which need a trainer."""
    names = ("log", "log_dict")
    vars(module).update(dict.fromkeys(names, lambda *args, **options: None))
    try:
        yield
    finally:
        for name in names:
            del vars(module)[name]


def _loss(module: TaskModule, batch: Any) -> Tensor:
    return cast(Tensor, module.training_step(batch, 0))


def _first_inputs(module: TaskModule, batches: Sequence[Any]) -> Any:
    """Return what the network is given for one sample, in the layout of a training batch."""
    with _silent(module), torch.no_grad():
        _loss(module, batches[0])
    assert module.inputs_of_step is not None
    inputs = module.inputs_of_step[0]
    return ImageBatch(*(part[:1] for part in inputs)) if isinstance(inputs, ImageBatch) else inputs[:1]


def _forward(network: Any, inputs: Any) -> Any:
    """Return what is computed in layers that may be pruned: logits, or the pyramid of a detector before its heads."""
    return network.pyramid(inputs) if isinstance(network, Detector) else network(inputs)


def _infer(network: Any, inputs: Any) -> Any:
    return network(inputs)


def _measure(run: Run, module: TaskModule, data: TaskData) -> dict[str, float]:
    """Return the metrics of a module on the validation split, as `vertebra validate` measures the run."""
    device = run.device
    trainer = Trainer(
        accelerator="gpu" if device.type == "cuda" else device.type,
        devices=1,
        precision=run.config["trainer"].get("precision") or cast(Any, default_precision()),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    (metrics,) = trainer.validate(module, datamodule=data, verbose=False)
    module.to(device).eval()
    return {name: float(value) for name, value in metrics.items()}


def _write(run: Run, pruned: nn.Module, config: dict[str, Any], output: Path) -> None:
    """Write the pruned network as a checkpoint that was not trained since."""
    text = yaml.safe_dump(config, allow_unicode=True, sort_keys=False)
    content = read_checkpoint(run.path)
    state = {f"network.{name}": value.cpu() for name, value in pruned.state_dict().items()}
    entries = ("class_names", "pytorch-lightning_version", "epoch", "global_step", "category_ids", "operating_point")
    kept = {name: content[name] for name in entries if name in content}
    write_checkpoint({**kept, "state_dict": state, "config": text}, output / "checkpoints" / "best.ckpt")
    write_whole(output / "config.yaml", text)


def _latencies(networks: Sequence[nn.Module], inputs: Any, device: torch.device) -> list[float]:
    """Return the median milliseconds of an inference on one sample, as `vertebra predict` runs it."""
    folded = [copy.deepcopy(network) for network in networks]
    for network in folded:
        fold_norms(network)
    with torch.autocast(device.type, torch.bfloat16, enabled=default_precision() == "bf16-mixed"):
        return latencies([partial(_infer, one, inputs) for one in folded], device)


def _summary(record: dict[str, Any], trials: Sequence[Trial], metric: str, output: Path) -> str:
    scores = {trial.name: trial.metrics.get(metric, math.nan) for trial in trials}
    macs, parameters, times = record["macs"], record["parameters"], record["latency_ms"]
    shown = ", ".join(f"{name} {value:.4f}" for name, value in scores.items())
    lines = [
        f"{output}: {record['channels']['pruned']} of {record['channels']['all']} channels pruned",
        f"  GMACs         {macs[0] / 1e9:.3f} -> {macs[1] / 1e9:.3f} ({macs[0] / macs[1]:.2f} x)",
        f"  parameters    {parameters[0] / 1e6:.2f} M -> {parameters[1] / 1e6:.2f} M",
        f"  latency       {times[0]:.2f} ms -> {times[1]:.2f} ms ({times[0] / times[1]:.2f} x), one sample",
        f"  {metric:<13} {shown}",
    ]
    if times[1] > times[0]:
        lines.append("  the pruned network is slower than the whole one on this machine")
    for name in ("pruned", "fine-tuned"):
        if name in scores and not scores[name] >= _COLLAPSED * scores["before"]:
            remedy = "train longer with --epochs" if name == "fine-tuned" else "only a fine-tuned one is of use"
            lines.append(f"  {metric} of the {name} network has collapsed to {scores[name]:.4f}; {remedy}")
    return "\n".join(lines)

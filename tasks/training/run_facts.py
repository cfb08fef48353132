"""Record of a training for its report: network, data, settings, seed, time, versions and command."""

from __future__ import annotations

import json
import os
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging

from vertebra import __version__
from vertebra.backbones import Backbone
from vertebra.tasks.loading.data import TaskData
from vertebra.tasks.loading.files.whole_file import write_whole
from vertebra.tasks.training.module import TaskModule

FILE = "run.json"  # in the run folder
_PACKAGES = ("torch", "torchvision", "lightning")
_OPTIONS = ("lr", "momentum", "betas", "weight_decay", "nesterov")  # of an optimizer, those worth a look


class RunFacts(Callback):
    """Writes `run.json` when a training begins, and its duration after every epoch.

    Args:
        command: that started the run.
        weights: that it started from, in words.
    """

    def __init__(self, command: str = "", weights: str = "") -> None:
        self.command, self.weights = command, weights
        self._facts: dict[str, Any] = {}
        self._began = 0.0
        self._seconds_before = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not isinstance(pl_module, TaskModule) or not _writes(trainer):
            return
        self._began = time.monotonic()
        # a resumed run continues the clock
        before = read_facts(Path(trainer.default_root_dir)) if trainer.global_step else {}
        self._seconds_before = float(before.get("seconds", 0.0))
        self._facts = {
            "command": self.command,
            "network": network_facts(pl_module),
            "weights": self.weights,
            "data": _data_facts(trainer),
            "settings": _settings(trainer, pl_module),
            "seed": os.environ.get("PL_GLOBAL_SEED", ""),
            "hardware": hardware(trainer),
            "versions": versions(),
        }
        self._write(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._facts and "input" not in self._facts and isinstance(pl_module, TaskModule):
            images = pl_module.inputs_of_step[0] if pl_module.inputs_of_step else None
            tensor = images if isinstance(images, torch.Tensor) else getattr(images, "images", None)
            # the shape of a tensor is on the host, and reading it waits for nothing
            self._facts["input"] = list(tensor.shape) if isinstance(tensor, torch.Tensor) else []

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._facts and isinstance(pl_module, TaskModule) and pl_module.teacher is not None:
            self._facts["settings"]["teacher"] = pl_module.teacher.described()
        self._write(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if trainer.training:
            self._write(trainer)

    def _write(self, trainer: Trainer) -> None:
        if self._facts and _writes(trainer):
            seconds = round(self._seconds_before + time.monotonic() - self._began, 1)
            facts = json.dumps({**self._facts, "seconds": seconds}, indent=1)
            write_whole(Path(trainer.default_root_dir) / FILE, facts)  # a resumed run reads it


def read_facts(run: Path) -> dict[str, Any]:
    """Return the record of a run folder; empty without one."""
    file = run / FILE
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def network_facts(module: TaskModule) -> dict[str, Any]:
    """Return class, backbone and number of parameters of a network."""
    parameters = list(module.network.parameters())
    body = next((part for part in module.network.modules() if isinstance(part, Backbone)), None)
    return {
        "name": type(module.network).__name__,
        "backbone": "" if body is None else body.name or type(body).__name__,
        "parameters": sum(parameter.numel() for parameter in parameters),
        "trainable": sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        "classes": len(module.class_names),
    }


def versions() -> dict[str, str]:
    """Return the versions of this package, of what it runs on, and of Python."""
    return {"vertebra": __version__, **{name: version(name) for name in _PACKAGES}, "python": platform.python_version()}


def _data_facts(trainer: Trainer) -> dict[str, Any]:
    """Return where the data is, and for each split the number of samples and of labels by class."""
    data = getattr(trainer, "datamodule", None)
    facts: dict[str, Any] = {"root": str(getattr(data, "root", ""))}
    loaders = {"train": trainer.train_dataloader, "val": trainer.val_dataloaders}
    for split, loader in loaders.items():
        dataset = getattr(loader, "dataset", None)
        if dataset is None:
            continue
        facts[split] = {"samples": len(dataset)}
        if isinstance(data, TaskData):
            records = data.records(split)
            counts = data.label_counts(records)
            if counts is not None:
                facts[split]["labels"] = dict(zip(records.class_names, counts.tolist(), strict=True))
    return facts


def _settings(trainer: Trainer, module: TaskModule) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "epochs": trainer.max_epochs,
        "steps": int(trainer.estimated_stepping_batches),
        "batch size": getattr(getattr(trainer, "datamodule", None), "batch_size", None),
        "devices": trainer.world_size,
        "optimizer": ", ".join(_in_words(optimizer, optimizer.defaults, _OPTIONS) for optimizer in trainer.optimizers),
        "schedule": _in_words(module.schedule, vars(module.schedule)),
        "precision": str(trainer.precision),
    }
    averaging = [type(one).__name__ for one in getattr(trainer, "callbacks", ()) if isinstance(one, WeightAveraging)]
    optional = {
        "averaged weights": (", ".join(averaging), ""),
        "gradient accumulation": (trainer.accumulate_grad_batches, 1),
        "gradient clipping": (trainer.gradient_clip_val, None),
        "layer decay": (module.layer_decay, 1.0),
        "factor on the head's rate": (module.head_lr_mult, 1.0),
        "compile": (module.compile_mode, None),
        "teacher": (module.teacher and module.teacher.described(), None),
    }
    return settings | {name: value for name, (value, usual) in optional.items() if value not in (usual, 0)}


def _in_words(thing: Any, options: Any, wanted: tuple[str, ...] | None = None) -> str:
    """Return a class with its arguments, such as `SGD(lr=0.02, momentum=0.9)`."""
    names = [
        name for name in (wanted or options) if not name.startswith("_") and options.get(name) not in (None, False)
    ]
    return f"{type(thing).__name__}({', '.join(f'{name}={_short(options[name])}' for name in names)})"


def _short(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"({', '.join(map(_short, value))})"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def hardware(trainer: Trainer) -> str:
    """Return the name of the device that this process trains on."""
    device = trainer.strategy.root_device
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return (
        f"{device.type}, {torch.get_num_threads()} thread{'s' * (torch.get_num_threads() > 1)}"
        if device.type == "cpu"
        else device.type
    )


def _writes(trainer: Trainer) -> bool:
    return trainer.is_global_zero and not getattr(trainer, "fast_dev_run", False)

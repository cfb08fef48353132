"""Report writer: HTML report, metrics and per-sample scores after an evaluation."""

from __future__ import annotations

import base64
import json
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info

from vertebra.tasks.loading.files.whole_file import draft_of, write_whole
from vertebra.tasks.reporting.analyses import analyses_section
from vertebra.tasks.reporting.evaluated_table import write_evaluated
from vertebra.tasks.reporting.report import Section, note, report_numbers, write_report
from vertebra.tasks.reporting.run_identity import identity, labels_section
from vertebra.tasks.reporting.tables import format_number, json_value
from vertebra.tasks.training import training_pictures
from vertebra.tasks.training.module import TaskModule
from vertebra.tasks.training.run_facts import network_facts, read_facts, versions

_MAX_ROWS = 30  # of the table of classes in the terminal


class ReportWriter(Callback):
    """Callback that writes `report.html` to the trainer's `default_root_dir` after `validate` or `test`.

    The content comes from the module's `report`. Also written are the numbers of the report to `metrics.json`, the
    logged metrics to `metrics_val.json` or `metrics_test.json`, null if undefined, and, if the module provides
    `evaluated`, per-sample scores to `scores_val.csv` or `scores_test.csv`; what intervals over images take goes to
    `per_image_val.npz` or `per_image_test.npz`.

    Args:
        save: also write the predictions themselves, see `TaskModule.write_measured`.
    """

    def __init__(self, save: bool = False) -> None:
        self.save = save

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(trainer, pl_module, "validation")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(trainer, pl_module, "test")

    def _write(self, trainer: Trainer, pl_module: LightningModule, split: str) -> None:
        is_fitting = trainer.state.fn == TrainerFn.FITTING  # validations during training write no report
        if is_fitting or not trainer.is_global_zero or not isinstance(pl_module, TaskModule):
            return
        folder = Path(trainer.default_root_dir)
        # several runs in a folder have a log each; sorted by time, since by name version_10 precedes version_9
        logs = sorted(folder.glob("logs/version_*/metrics.csv"), key=lambda file: file.stat().st_mtime)
        facts = {"network": network_facts(pl_module), "versions": versions(), **_facts(trainer, folder)}
        headline, sections = pl_module.report(logs, _on_training(folder, pl_module, facts))
        analyses = analyses_section(folder)
        sections += [*([analyses] if analyses else []), *_configuration(folder)]
        file = folder / "report.html"
        evaluated = _evaluated(trainer, pl_module, split)
        write_report(file, folder.name, evaluated["evaluated on"], headline, sections, identity(facts, evaluated))
        metrics = {name: json_value(float(value)) for name, value in pl_module.results.scores().items()}
        _write_json(folder / f"metrics_{pl_module.split}.json", metrics)
        _write_json(folder / "metrics.json", {"split": pl_module.split, **report_numbers(headline, sections)})
        if (table := pl_module.evaluated()) is not None:
            write_evaluated(folder / f"scores_{pl_module.split}.csv", table)
        if (arrays := pl_module.per_image()) is not None:
            with draft_of(folder / f"per_image_{pl_module.split}.npz") as draft:
                np.savez_compressed(draft, **arrays)  # type: ignore[arg-type]
        if self.save and (written := pl_module.write_measured(folder)) is not None:
            rank_zero_info(f"predictions: {written}")
        numbers = ", ".join(f"{name} {format_number(value)}" for name, value in headline.items())
        classes = pl_module.class_table()
        rank_zero_info("\n".join([*([classes.text(_MAX_ROWS)] if classes else []), numbers, f"report: {file}"]))


def _facts(trainer: Trainer, folder: Path) -> dict[str, Any]:
    """Return the record of the training; an evaluation elsewhere finds it beside the checkpoint."""
    run = Path(str(trainer.ckpt_path)).parent.parent if trainer.ckpt_path else folder
    return read_facts(folder) or read_facts(run)


def _evaluated(trainer: Trainer, module: TaskModule, split: str) -> dict[str, str]:
    """Return which checkpoint was measured on what."""
    loader: Any = trainer.val_dataloaders if module.split == "val" else trainer.test_dataloaders
    count = len(getattr(loader, "dataset", ()))
    rows = {"evaluated on": f"{split} split, {count:,} samples"}
    if module.epoch is not None:
        file = Path(str(trainer.ckpt_path)).name if trainer.ckpt_path else ""
        rows |= {"best epoch": str(module.epoch)} if file == "best.ckpt" else {"checkpoint": f"epoch {module.epoch}"}
    return rows


def _on_training(folder: Path, module: TaskModule, facts: dict[str, Any]) -> list[Section]:
    """Return the histogram of labels and the picture of training samples, as far as there are any."""
    evaluated = dict(zip(module.class_names, module.results.label_counts().tolist(), strict=True))
    trained = facts.get("data", {}).get("train", {}).get("labels", {})
    labels = labels_section({"training": trained, f"evaluated ({module.split})": evaluated}, module.labeled)
    sections = [labels] if labels else []
    file = folder / training_pictures.FILE
    if file.is_file():
        image = base64.b64encode(file.read_bytes()).decode()
        shown = f'<img class="sheet" alt="training samples" src="data:image/jpeg;base64,{image}">'
        text = "The first samples of the training as the network sees them, after augmentation, with their labels."
        sections.append(Section("Training samples", shown, note(text)))
    return sections


def _configuration(folder: Path) -> list[Section]:
    file = folder / "config.yaml"
    if not file.is_file():
        return []
    text = escape(file.read_text(encoding="utf-8"))
    return [Section("Configuration", f"<details><summary>{file.name}</summary><pre>{text}</pre></details>")]


def _write_json(file: Path, content: dict[str, Any]) -> None:
    write_whole(file, json.dumps(content, indent=1, ensure_ascii=False), errors="backslashreplace")

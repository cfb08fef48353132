"""Report writer: HTML report, metrics and per-sample scores after an evaluation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info

from vertebra.tasks.reporting.evaluated_table import write_evaluated
from vertebra.tasks.reporting.report import report_numbers, write_report
from vertebra.tasks.reporting.tables import format_number, json_value
from vertebra.tasks.training.module import TaskModule

_MAX_ROWS = 30  # of the table of classes in the terminal


class ReportWriter(Callback):
    """Callback that writes `report.html` to the trainer's `default_root_dir` after `validate` or `test`.

    The content comes from the module's `report`. Also written are the numbers of the report to `metrics.json`, the
    logged metrics to `metrics_val.json` or `metrics_test.json`, null if undefined, and, if the module provides
    `evaluated`, per-sample scores to `scores_val.csv` or `scores_test.csv`.

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
        headline, sections = pl_module.report(logs)
        file = folder / "report.html"
        write_report(file, folder.name, f"measured on the {split} split", headline, sections)
        metrics = {name: json_value(float(value)) for name, value in pl_module.results.scores().items()}
        _write_json(folder / f"metrics_{pl_module.split}.json", metrics)
        _write_json(folder / "metrics.json", {"split": pl_module.split, **report_numbers(headline, sections)})
        if (table := pl_module.evaluated()) is not None:
            write_evaluated(folder / f"scores_{pl_module.split}.csv", table)
        if self.save and (written := pl_module.write_measured(folder)) is not None:
            rank_zero_info(f"predictions: {written}")
        numbers = ", ".join(f"{name} {format_number(value)}" for name, value in headline.items())
        rank_zero_info(f"{pl_module.class_table().text(_MAX_ROWS)}\n{numbers}\nreport: {file}")


def _write_json(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8", errors="backslashreplace")

"""Report writer: HTML report, metrics and per-sample scores after an evaluation."""

from __future__ import annotations

import json
import math
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info

from vertebra.tasks.reporting.evaluated_table import write_evaluated
from vertebra.tasks.reporting.report import format_number, write_report
from vertebra.tasks.training.module import TaskModule


class ReportWriter(Callback):
    """Callback that writes `report.html` to the trainer's `default_root_dir` after `validate` or `test`.

    The content comes from the module's `report`. Also written are the logged metrics to `metrics_val.json` or
    `metrics_test.json`, null if undefined, and, if the module provides `evaluated`, per-sample scores to
    `scores_val.csv` or `scores_test.csv`.

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
        scores = pl_module.results.scores()
        # JSON has no NaN: Python would write one that other readers refuse
        metrics = {name: None if math.isnan(value) else float(value) for name, value in scores.items()}
        (folder / f"metrics_{pl_module.split}.json").write_text(json.dumps(metrics, indent=1), encoding="utf-8")
        if (table := pl_module.evaluated()) is not None:
            write_evaluated(folder / f"scores_{pl_module.split}.csv", table)
        if self.save and (written := pl_module.write_measured(folder)) is not None:
            rank_zero_info(f"predictions: {written}")
        numbers = ", ".join(f"{name} {format_number(value)}" for name, value in headline.items())
        rank_zero_info(f"{numbers}\nreport: {file}")

"""Report, metrics and scores of a run as files, written after every evaluation."""

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
    """Writes `report.html` below the trainer's `default_root_dir` when `validate` or `test` ends.

    The module gives the content by its `report`. Beside it are the logged metrics as `metrics_val.json` or
    `metrics_test.json`, null where undefined, and where the module has a table of `evaluated` samples, `scores_val.csv`
    or `scores_test.csv`.
    """

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(trainer, pl_module, "validation")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(trainer, pl_module, "test")

    def _write(self, trainer: Trainer, pl_module: LightningModule, split: str) -> None:
        fitting = trainer.state.fn == TrainerFn.FITTING
        if fitting or not trainer.is_global_zero or not isinstance(pl_module, TaskModule):
            return
        folder = Path(trainer.default_root_dir)
        # a resumed run has a log for each part
        logs = sorted(folder.glob("logs/version_*/metrics.csv"), key=lambda file: file.stat().st_mtime)
        headline, sections = pl_module.report(logs)
        file = folder / "report.html"
        write_report(file, folder.name, f"measured on the {split} split", headline, sections)
        scores = pl_module.results.scores()
        metrics = {name: None if math.isnan(value) else float(value) for name, value in scores.items()}
        (folder / f"metrics_{pl_module.split}.json").write_text(json.dumps(metrics, indent=1), encoding="utf-8")
        if (table := pl_module.evaluated()) is not None:
            write_evaluated(folder / f"scores_{pl_module.split}.csv", table)
        numbers = ", ".join(f"{name} {format_number(value)}" for name, value in headline.items())
        rank_zero_info(f"{numbers}\nreport: {file}")

"""Experiment trackers of `vertebra fit --log`: TensorBoard, Weights & Biases and MLflow."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

_PROJECT = "vertebra"  # of W&B, and experiment of MLflow, unless their environment variables name another


def make_tracker(name: str, run: Path) -> Logger:
    """Return the logger of W&B or MLflow for a run folder.

    Their own environment variables apply: `WANDB_MODE=offline`, `WANDB_PROJECT`, `MLFLOW_TRACKING_URI`,
    `MLFLOW_EXPERIMENT_NAME`; without a tracking server MLflow writes to `mlruns/` in the run folder.
    """
    if name == "wandb":
        run.mkdir(parents=True, exist_ok=True)
        return WandbLogger(project=os.environ.get("WANDB_PROJECT", _PROJECT), name=run.name, save_dir=run)
    uri = os.environ.get("MLFLOW_TRACKING_URI", f"file:{(run / 'mlruns').resolve()}")
    experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", _PROJECT)
    return MLFlowLogger(experiment_name=experiment, run_name=run.name, tracking_uri=uri)


def log_picture(logger: Logger, title: str, pixels: np.ndarray, step: int) -> None:
    """Send a picture (H, W, 3) uint8 RGB to a tracker; a logger of scalars alone is passed over."""
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.add_image(title, pixels, step, dataformats="HWC")
    elif isinstance(logger, WandbLogger):
        logger.log_image(title, [pixels], step)
    elif isinstance(logger, MLFlowLogger):
        logger.experiment.log_image(logger.run_id, pixels, artifact_file=f"{title}/{step:08d}.png")


def log_table(logger: Logger, title: str, rows: Sequence[Mapping[str, Any]], step: int) -> None:
    """Send a table to a tracker, one mapping per row; a logger of scalars alone is passed over."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    cells = [[row.get(column) for column in columns] for row in rows]
    if isinstance(logger, TensorBoardLogger):
        lines = [columns, ["---"] * len(columns), *([_text(cell) for cell in row] for row in cells)]
        logger.experiment.add_text(title, "\n".join(f"| {' | '.join(line)} |" for line in lines), step)
    elif isinstance(logger, WandbLogger):
        logger.log_table(title, columns, cells, step=step)
    elif isinstance(logger, MLFlowLogger):
        data = {column: [row[index] for row in cells] for index, column in enumerate(columns)}
        logger.experiment.log_dict(logger.run_id, data, artifact_file=f"{title}/{step:08d}.json")


def _text(cell: Any) -> str:
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell).replace("|", "\\|")

"""Sharing of a trained model: weights, configuration, metrics with intervals, and a model card in one folder."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from vertebra.tasks.detection.evaluation.intervals import precision_intervals
from vertebra.tasks.reporting.evaluated_table import EvaluatedTable, read_evaluated
from vertebra.tasks.scoring.bootstrap import bootstrap
from vertebra.tasks.segmentation.intervals import pixel_intervals
from vertebra.tools.folds import make_scorer
from vertebra.tools.sharing.model_card import Score, model_card
from vertebra.tools.trained.assembly import portable_config
from vertebra.tools.trained.location import BEST
from vertebra.tools.trained.run import Run
from vertebra.tools.trained.shared_folder import CARD, write_shared

# task -> returns the intervals of its metrics, of the arrays of `per_image`
_INTERVALS = {"detection": precision_intervals, "segmentation": pixel_intervals}
METRICS, PREPROCESSING, EXTRA = "metrics.json", "preprocessor_config.json", "training.json"


def share(run: Run, content: dict[str, Any], folder: Path, name: str, trust: bool = False) -> list[Path]:
    """Write a model for others to a new folder, in the layout of the Hugging Face Hub.

    Args:
        run: the model.
        content: of its checkpoint.
        folder: must be empty or not exist.
        name: of the model, for its card.
        trust: whether the configuration may name classes outside this package.

    Returns:
        The files.

    Raises:
        ValueError: the folder has files.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} exists and is not empty; give a new folder, or delete it.")
    scores = measured(run)
    metrics = {one.name: None if math.isnan(one.value) else one.value for one in scores}
    described = {"task": run.task, "preprocessing": run.preprocessing, "metrics": metrics}
    write_shared(folder, content, portable_config(run.path, content, trust), described)
    intervals = {one.name: {"value": metrics[one.name], "interval": one.interval or None} for one in scores}
    _write_json(folder / METRICS, intervals)
    _write_json(folder / PREPROCESSING, run.preprocessing)
    _write_json(folder / EXTRA, without_paths(run.config))
    parameters = sum(x.numel() for x in run.network.parameters()) / 1e6
    network = f"{type(run.network).__name__} with {parameters:.1f} M parameters"
    card = model_card(
        name, run.task, network, run.class_names, without_paths(run.config), run.preprocessing, scores, content
    )
    (folder / CARD).write_text(card, encoding="utf-8")
    return sorted(folder.iterdir())


def measured(run: Run) -> list[Score]:
    """Return the metrics of a run; with 95 % intervals those of detectors and segmenters, accuracy and AUROC.

    They need what an evaluation wrote for each sample, which runs of earlier versions lack.
    """
    intervals: dict[str, str] = {}
    scores: list[Score] = []
    if run.path.name == BEST:
        for split in ("val", "test"):
            if (file := run.path.parent.parent / f"per_image_{split}.npz").is_file() and run.task in _INTERVALS:
                with np.load(file, allow_pickle=False) as arrays:
                    found = _INTERVALS[run.task](dict(arrays))
                intervals |= {f"{split}/{name}": str(interval) for name, interval in found.items()}
            if (file := run.path.parent.parent / f"scores_{split}.csv").is_file():
                scores += _with_intervals(split, read_evaluated(file))
    return [*(Score(name, value, intervals.get(name, "")) for name, value in run.metrics.items()), *scores]


def without_paths(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration without the folders of the machine that it ran on."""
    data = {key: value for key, value in config["data"]["init_args"].items() if key not in ("root", "predict")}
    trainer = {key: value for key, value in config.get("trainer", {}).items() if key != "default_root_dir"}
    kept = {key: value for key, value in config.items() if key in ("seed_everything", "model")}
    return {**kept, "trainer": trainer, "data": {**config["data"], "init_args": data}}


def _with_intervals(split: str, table: EvaluatedTable) -> list[Score]:
    scorer = make_scorer(table)
    intervals = bootstrap(scorer, table.groups)
    values = scorer(np.ones(len(table.names), dtype=np.int64))
    return [
        Score(f"{split}/{name}, {len(table.names)} samples", value, str(intervals[name]))
        for name, value in values.items()
    ]


def _write_json(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")

"""Location of a trained model: the checkpoint of a run folder, a checkpoint file, or a shared folder."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vertebra.tools.arguments.early_checks import check_run
from vertebra.tools.trained.shared_entries import is_shared, read_entries

BEST, LAST = "best.ckpt", "last.ckpt"
_EXPORTED = ".onnx"


def find_checkpoint(path: str | os.PathLike[str]) -> Path:
    """Return the checkpoint at a path: the file or shared folder itself, or the best of a run folder, else its last.

    Raises:
        FileNotFoundError: there is none.
    """
    given = Path(path).expanduser()
    if given.is_file() or is_shared(given):
        return given
    check_run(given)
    for name in (BEST, LAST):
        for folder in (given / "checkpoints", given):
            if (folder / name).is_file():
                return folder / name
    raise FileNotFoundError(
        f"{given}: holds no {BEST} or {LAST}, also not in {given / 'checkpoints'}; give a run folder such as "
        "runs/NAME, or the path of a checkpoint."
    )


def is_exported(path: Path) -> bool:
    """Return whether a path is an exported file, by its suffix."""
    return path.suffix.lower() == _EXPORTED


def run_folder(checkpoint: Path) -> Path:
    """Return the folder of a run, or that of a lone checkpoint; a shared folder is its own."""
    if checkpoint.is_dir():
        return checkpoint
    return checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else checkpoint.parent


def metrics_of(checkpoint: Path, content: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics of a checkpoint, such as `{"val/map": 0.42}`.

    Those of the best checkpoint are in files of its run folder; any other has the score that it was chosen by,
    and a shared folder has them in its configuration.

    Args:
        checkpoint: its path.
        content: of the checkpoint.
    """
    metrics: dict[str, float] = {}
    if is_shared(checkpoint):
        measured = read_entries(checkpoint).get("metrics", {})
        return {name: float("nan") if value is None else float(value) for name, value in measured.items()}
    if checkpoint.name == BEST:
        run = checkpoint.parent.parent
        for split in ("val", "test"):
            if (file := run / f"metrics_{split}.json").is_file():
                scores = json.loads(file.read_text(encoding="utf-8"))
                metrics |= {f"{split}/{key}": float("nan") if value is None else value for key, value in scores.items()}
    if not metrics:
        for state in content.get("callbacks", {}).values():
            score = state.get("current_score") if isinstance(state, Mapping) else None
            if score is not None:
                metrics[str(state["monitor"])] = float(score)
    return metrics

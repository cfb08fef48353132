"""CSV table of the top predictions of a classifier."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vertebra.tasks.loading.files.whole_file import draft_of


def score_row(file: str, names: Sequence[str], scores: Sequence[float]) -> dict[str, Any]:
    """Return a row of the table by column; classes in descending order of their probability."""
    row: dict[str, Any] = {"file": file}
    for rank, (name, score) in enumerate(zip(names, scores, strict=True), start=1):
        suffix = f"_{rank}" if rank > 1 else ""
        row |= {f"label{suffix}": name, f"score{suffix}": score}
    return row


def write_scores(file: Path, class_names: Sequence[str], rows: Iterable[tuple[str, np.ndarray, np.ndarray]]) -> None:
    """Write a CSV with the columns file, label, score, label_2, score_2, ... for the most probable classes.

    Args:
        file: the CSV; its folder is created if needed.
        class_names: the K classes.
        rows: for each file its name, the T most probable labels in descending order, and their probabilities (T,).
    """
    rows = list(rows)
    num_top = max((len(labels) for _, labels, _ in rows), default=1)
    header = ["file", "label", "score"]
    header += [f"{name}_{rank}" for rank in range(2, num_top + 1) for name in ("label", "score")]
    with draft_of(file) as draft, draft.open("w", newline="", encoding="utf-8", errors="backslashreplace") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        for name, labels, scores in rows:
            pairs = zip(labels.tolist(), scores.tolist(), strict=True)
            writer.writerow([name, *(cell for label, score in pairs for cell in (class_names[label], f"{score:.6f}"))])

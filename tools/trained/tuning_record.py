"""Record of a quantization-aware fine-tuning in the folder of its run, which later measurements refer to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from vertebra.tools.exporting.draft import draft_of

RECORD = "finetuning.json"


class Tuning(NamedTuple):
    """A quantization-aware fine-tuning.

    Attributes:
        run: folder of the run before.
        epochs: of the fine-tuning.
        metrics: name -> metric in float32 of the run before, and of its file with all layers in int8; empty without
            labels. Of a run that was fine-tuned repeatedly the first is that before all fine-tunings.
    """

    run: str
    epochs: int
    metrics: Mapping[str, tuple[float, float]]


def write_tuning(folder: Path, tuning: Tuning) -> None:
    """Write the record of a fine-tuning to the folder of its run."""
    with draft_of(folder / RECORD) as draft:
        draft.write_text(json.dumps(tuning._asdict(), indent=1), encoding="utf-8")


def read_tuning(folder: Path) -> Tuning | None:
    """Return the fine-tuning that the run of a folder is from, None if it is from none.

    Raises:
        ValueError: the record is damaged.
    """
    path = folder / RECORD
    if not path.is_file():
        return None
    try:
        return Tuning(**json.loads(path.read_text(encoding="utf-8")))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: cannot be read ({error}); remove it, and the int8 file is compared with the float32 file alone."
        ) from error

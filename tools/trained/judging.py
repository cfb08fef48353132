"""Judges of generators: a classification run is loaded, and given to the generator that names it."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.utilities.seed import isolate_rng

from vertebra.tools.trained.assembly import assemble
from vertebra.tools.trained.exported_file import is_exported
from vertebra.tools.trained.location import find_checkpoint


def add_judge(module: Any) -> None:
    """Load the judge that a module names, if it names one, for `GenerationModule.measure_by`.

    Raises:
        FileNotFoundError: there is no run at the path.
        ValueError: it was not written by `vertebra fit`, is of another task, or lacks a class.
    """
    path = getattr(module, "judge_path", None)
    if path is None:
        return
    checkpoint = find_checkpoint(path)
    if is_exported(checkpoint):
        raise ValueError(f"{path}: the judge is an exported file; give the run that it was exported from.")
    with isolate_rng():  # the generator draws the same random numbers with and without a judge
        judge = assemble(checkpoint)
    module.measure_by(judge.module, str(path))

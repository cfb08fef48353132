"""Judges of generators: a classification run is loaded, and given to the generator that names it."""

from __future__ import annotations

from typing import Any

from vertebra.tools.trained.companion import load_companion


def add_judge(module: Any) -> None:
    """Load the judge that a module names, if it names one, for `GenerationModule.measure_by`.

    Raises:
        FileNotFoundError: there is no run at the path.
        ValueError: it was not written by `vertebra fit`, is of another task, or lacks a class.
    """
    path = getattr(module, "judge_path", None)
    if path is not None:
        module.measure_by(load_companion(path, "judge").module, str(path))

"""Teachers of a distillation: a run is loaded, compared with its student, and given to it."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.utilities import rank_zero_info

from vertebra.tasks.loading.data import TaskData
from vertebra.tools.trained.companion import load_companion
from vertebra.tools.trained.run import read_settings

# of the data modules' settings: those by which the same pixel gets another value; others change size and sampling
_VALUES = ("pixels", "intensity")


def add_teacher(module: Any, data: TaskData) -> None:
    """Load the teacher that a module names, if it names one, for `TaskModule.learn_from`.

    Args:
        module: of the student.
        data: of the student.

    Raises:
        FileNotFoundError: there is no run at the path.
        ValueError: it was not written by `vertebra fit`, or differs in task, classes or preprocessing.
    """
    path = getattr(module, "teacher_path", None)
    if path is None:
        return
    teacher = load_companion(path, "teacher")
    module.learn_from(teacher.module, str(path))
    own, others = read_settings(data), read_settings(teacher.data)
    differing = [name for name in own if own[name] != others.get(name)]
    if refused := [name for name in differing if name in _VALUES]:
        name = refused[0]
        raise ValueError(
            f"{path}: the teacher was trained with data.{name} {others.get(name)}, and the student's images have "
            f"{own[name]}, but both are given the same; set --data.{name} alike, or take another teacher."
        )
    for name in differing:
        rank_zero_info(f"teacher {path}: trained with data.{name} {others.get(name)}; here it gets {own[name]}")

"""Agreement of teacher and student before a distillation: of the task, the classes and the input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def agreed_order(student: Any, teacher: Any, source: str) -> Tensor | None:
    """Return the label order of `label_order` for a student that can learn from the outputs of a teacher.

    Args:
        student: a `TaskModule`.
        teacher: another.
        source: the teacher, for messages.

    Raises:
        ValueError: task, classes, their exclusiveness, or normalization of the input differ.
    """
    if not (isinstance(teacher, type(student)) or isinstance(student, type(teacher))):
        raise ValueError(
            f"{source}: the teacher is a {type(teacher).__name__} and the student a {type(student).__name__}; "
            "distillation needs a teacher of the same task. Give a run of that."
        )
    order = label_order(student.class_names, teacher.class_names, source)
    for name in ("mean", "std"):
        own, other = (getattr(getattr(module, "normalize", None), name, None) for module in (student, teacher))
        if own != other:
            raise ValueError(
                f"{source}: the teacher's input is normalized with {name} {other}, and the student's with {own}, "
                f"but both are given the same images; set --model.{name} {other}, or take another teacher."
            )
    if getattr(student, "exclusive", True) != getattr(teacher, "exclusive", True):
        raise ValueError(
            f"{source}: one of teacher and student has exclusive classes and the other findings of which any "
            "number may be there, whose probabilities cannot be compared; take a teacher with the same "
            "--model.target."
        )
    return order


def label_order(student: Sequence[str], teacher: Sequence[str], source: str) -> Tensor | None:
    """Return the teacher's label of each of the student's classes, None if they are in the same order.

    Args:
        student: class names of the student.
        teacher: class names of the teacher.
        source: the teacher, for the message.

    Raises:
        ValueError: they are not the same classes.
    """
    missing = [name for name in student if name not in teacher]
    unknown = [name for name in teacher if name not in student]
    if missing or unknown:
        parts = [f"lacks {_listed(missing)}"] if missing else []
        parts += [f"has {_listed(unknown)} besides"] if unknown else []
        raise ValueError(
            f"{source}: the teacher {' and '.join(parts)}, but teacher and student need the same classes; train a "
            "teacher on this data set."
        )
    order = [teacher.index(name) for name in student]
    return None if order == list(range(len(order))) else torch.tensor(order)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{', '.join(names[:5])}{more}"

"""Class names of a training split: order and faults, and classes that a split lacks."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from vertebra.tasks.loading.files import faults
from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.loading.files.listing import natural_key
from vertebra.tasks.loading.similar_names import similar_names

NAMED = 20  # classes in a message; a data set may have a million


def shortened(names: Sequence[str]) -> str:
    """Return a list of classes for a message, the first few of very many."""
    shown = ", ".join(f"{name:.80}" for name in names[:NAMED])
    return f"{shown}, ... ({len(names)} in all)" if len(names) > NAMED else shown


def ordered_classes(labels: Iterable[str]) -> list[str]:
    """Return the distinct labels in natural order (2 before 10), the order of class folders."""
    return sorted(set(labels), key=natural_key)


def class_faults(source: Path, names: Sequence[str], hint: str = "") -> Iterator[Fault]:
    """Yield the faults of the class names of a training split.

    Args:
        source: the file or folder that names them.
        names: the classes.
        hint: sentence on what else the classes may be, where there is one only.
    """
    if len(names) == 1:
        message = (
            f"{names[0]!r} is the only class, so that every prediction would be correct. Add samples of another class."
            f"{hint and ' ' + hint}"
        )
        yield Fault(faults.ONE_CLASS, str(source), message)
    for first, second in similar_names(names):
        message = f"the classes {first!r} and {second!r} have nearly the same name; give both the same, or rename one."
        yield Fault(faults.SIMILAR_CLASSES, str(source), message)


def untrained_classes(
    counts: Mapping[str, int], trained: Mapping[str, int], source: str, training: str, unit: str = "labels"
) -> Iterator[Fault]:
    """Yield the classes that a split has and the training split lacks: they are measured, but cannot be learned.

    `fit` warns of them and does not refuse: with many rare classes some are in one split only, and where whole groups
    are divided into folds, any division may have such a class.

    Args:
        counts: how many labels the split has of each class.
        trained: how many the training split has.
        source: the split's file.
        training: name of the training split.
        unit: what is counted.
    """
    for name, count in counts.items():
        if count and not trained.get(name):
            message = f"class {name!r:.80} has {count} {unit} here and none in {training}, so it cannot be learned. "
            message += "Move some of its samples to the training split, or drop the class."
            yield Fault(faults.UNTRAINED_CLASS, source, message)


def warn_of_absent(source: Path | str, names: Sequence[str], labels: np.ndarray) -> None:
    """Warn of classes without samples in an evaluation split, whose scores are undefined.

    Args:
        source: the split.
        names: the K classes.
        labels: (N,) int64 in 0..K-1.
    """
    counts = np.bincount(labels, minlength=len(names))
    absent = [name for name, count in zip(names, counts.tolist(), strict=True) if not count]
    if absent:
        shown = ", ".join(absent[:10]) + (f" and {len(absent) - 10} more" if len(absent) > 10 else "")
        message = f"{source}: has samples of {len(names) - len(absent)} of {len(names)} classes, and none of {shown}"
        warnings.warn(f"{message}; means over classes ignore them.", stacklevel=2)

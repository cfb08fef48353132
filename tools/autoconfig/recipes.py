"""Choice of the task and of the recipe for a data set of one's own."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from vertebra.tasks.loading.files.csv_rows import first_path
from vertebra.tasks.loading.formats import Format, Source
from vertebra.tasks.medical.scans import NIFTI_SUFFIXES
from vertebra.tools.arguments.command_line import Flag
from vertebra.tools.arguments.config_files import OWN_DATA
from vertebra.tools.autoconfig.data_arguments import data_flags
from vertebra.tools.autoconfig.rival_tasks import FORMATS_OF, PURPOSES, RIVALS, array_shapes
from vertebra.tools.checks.finders import FINDERS, UNLABELED, find_splits
from vertebra.tools.checks.group_columns import group_column
from vertebra.tools.checks.split_names import Ambiguous, assign_splits, lacks_training

HELD_OUT = 0.2  # of a training split without a validation split


class Recipe(NamedTuple):
    """A configuration for a data set.

    Attributes:
        task: name of the task's package.
        config: name of the shipped configuration.
        splits: source of each split of the data set.
        flags: that adapt it to the data set.
        found: the data set in words.
        also: another task that the data set suits, as flag and purpose; empty where there is none.
    """

    task: str
    config: str
    splits: dict[str, Source]
    flags: list[Flag]
    found: str
    also: str


class Data(NamedTuple):
    """The splits of a data set, of one task, and another task that is no matter of choice."""

    task: str
    formats: Sequence[Format]
    sources: list[Source]
    also: str = ""


def choose_recipe(paths: Sequence[Path], task: str | None, weights: str | None, flags: argparse.Namespace) -> Recipe:
    """Return the recipe for the data set at some paths.

    Args:
        paths: a data set, or its splits.
        task: that the user wants; None for that of the data set.
        weights: initial weights that the user wants: `none`, a name, or a file; None for those of the recipe.
        flags: of `vertebra check`.

    Raises:
        Ambiguous: the data set suits several tasks, or has several training splits.
        FileNotFoundError: a path does not exist, or holds no data set.
        ValueError: there is nothing to train on.
    """
    title = " ".join(map(str, paths))
    found = [find_data(path, task, flags, title) for path in paths]
    data = found[0]._replace(sources=[source for one in found for source in one.sources])
    if {one.task for one in found} != {data.task}:
        kinds = ", ".join(f"{path} of {one.task}" for path, one in zip(paths, found, strict=True))
        raise ValueError(f"the paths are of several tasks: {kinds}; expected splits of one data set.")
    splits = _assign(data.sources, paths, title)
    chosen = data_flags(data.task, splits, paths)
    if "val" not in splits:
        chosen.append(Flag("--data.val_fraction", str(HELD_OUT)))
    kind, adapted = _KIND_OF.get(data.task, _task_itself)(data.task, list(splits.values()))
    also = f"--task {data.also}  # {PURPOSES[data.also]}" if data.also else ""
    return Recipe(data.task, OWN_DATA[kind].choose(weights), splits, [*chosen, *adapted], _in_words(data, splits), also)


def _assign(sources: Sequence[Source], paths: Sequence[Path], title: str) -> dict[str, Source]:
    if len(paths) == 1 and (fault := lacks_training(sources, paths[0])):
        raise ValueError(f"{title}: {fault}")
    try:
        return assign_splits(sources, title)
    except Ambiguous:
        # given one by one, the first is trained on
        if len(sources) == len(paths) and 1 < len(paths) < 4:
            return dict(zip(("train", "val", "test"), sources, strict=False))
        raise


def find_data(path: Path, task: str | None, flags: argparse.Namespace, title: str = "") -> Data:
    """Return the splits at a path, of a task.

    Args:
        path: a data set.
        task: that is wanted; None for that of the data set.
        flags: of `vertebra check`.
        title: all paths of the call, for the question.

    Raises:
        Ambiguous: the data set suits several tasks.
        FileNotFoundError: there is no data set at the path.
        ValueError: it is of another task.
    """
    found = find_splits(path, flags)
    if found.finder is UNLABELED:
        raise ValueError(
            f"{path}: holds scans without labels; expected a .csv with the columns path and label. Write one."
        )
    first = Data(found.finder.task, found.finder.formats, [split.source for split in found.splits])
    if task == first.task:
        return first
    rivals = {
        rival.task: sources
        for rival in RIVALS
        if rival.of == first.task and (sources := rival.find(path, first.sources, flags))
    }
    if task is None and list(rivals) == ["instances"] and first.task == "detection":
        return first._replace(also="instances")  # boxes are what was always trained on
    if task is None and rivals:
        choices = {f"{title} --task {name}": PURPOSES[name] for name in (first.task, *rivals)}
        raise Ambiguous(f"{path}: suits {' and '.join((first.task, *rivals))}", choices)
    if task is None:
        return first
    if task not in rivals:
        raise ValueError(f"{path}: holds a data set of {first.task}; expected one of {task}. Give that.")
    finder = next(each for each in FINDERS if each.task == FORMATS_OF.get(task, task))
    return Data(task, finder.formats, rivals[task])


def _task_itself(task: str, sources: Sequence[Source]) -> tuple[str, list[Flag]]:
    return task, []


def _kind_of_scans(task: str, sources: Sequence[Source]) -> tuple[str, list[Flag]]:
    """Return whether scans are images or volumes, as `OWN_DATA` has it, and the flags for their size and columns."""
    if sources[0].path.suffix.lower() == ".npz":
        shapes = array_shapes(sources[0].path)
        images = shapes.get("train_images", (0, 0, 0))
        is_color = len(images) == 4 and images[-1] == 3
        size = images[1:-1] if is_color else images[1:]
        flags = [Flag("--data.resample.size", str(list(size))), Flag("--data.columns.patient", "null")]
        if len(size) == 3:
            flags.append(Flag("--data.resample.spacing", "null"))
        if is_color:
            flags += [Flag("--data.resample.channels", "3"), Flag("--model.network.in_channels", "3")]
        if len(shapes.get("train_labels", ())) == 2 and shapes["train_labels"][1] > 1:
            flags += [
                Flag("--data.kind", "findings"),
                Flag("--model.target", "vertebra.tasks.medical.targets.Findings"),
            ]
        return "medical volumes" if len(size) == 3 else "medical images", flags
    first = first_path(sources[0].path).lower()
    is_volume = first.endswith(NIFTI_SUFFIXES) or ((sources[0].files or sources[0].path.parent) / first).is_dir()
    return "medical volumes" if is_volume else "medical images", group_flags(task, sources)


def _kind_of_labels(task: str, sources: Sequence[Source]) -> tuple[str, list[Flag]]:
    return task, group_flags(task, sources)


def group_flags(task: str, sources: Sequence[Source]) -> list[Flag]:
    """Return the flag that names the column of patients or other groups of the tables of a data set."""
    column = group_column(sources)
    if task == "medical":
        return [Flag(GROUPS[task], column.name if column else "null")]
    return [Flag(GROUPS[task], column.name)] if column else []


GROUPS = {"classification": "--data.group", "medical": "--data.columns.patient", "video": "--data.group"}
_KIND_OF = {"classification": _kind_of_labels, "medical": _kind_of_scans, "video": _kind_of_labels}


def _in_words(data: Data, splits: Mapping[str, Source]) -> str:
    name = next((each.name for each in data.formats if each.matches(data.sources[0].path)), "")
    names = {split: source.split or source.path.absolute().name for split, source in splits.items()}
    parts = [split if name == split else f"{split} {name}" for split, name in names.items()]
    if "val" not in splits:
        parts.insert(1, f"val {HELD_OUT:.0%} of it")
    return f"{data.task}, {name}: {', '.join(parts)}"

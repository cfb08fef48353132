"""Arguments of a task's data module for the splits of a data set."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from vertebra.tasks.loading.coco.content import read_content
from vertebra.tasks.loading.coco.image_folder import find_image_folder
from vertebra.tasks.loading.formats import Source
from vertebra.tools.arguments.command_line import Flag

# returns the arguments of one split, by their names behind data.train, from a source and the root
Arguments = Callable[[Source, Path], dict[str, str]]


def data_flags(task: str, splits: Mapping[str, Source], paths: Sequence[Path]) -> list[Flag]:
    """Return the flags that make a data module read these splits.

    Args:
        task: of the data module.
        splits: source of each split that there is.
        paths: the data set as a user gives it, or its splits.

    Raises:
        ValueError: the splits have no common root.
    """
    root = _root(task, splits, paths)
    flags = [Flag("--data.root", str(root))]
    for split, source in splits.items():
        flags += [Flag(f"--data.{split}{key}", value) for key, value in _ARGUMENTS[task](source, root).items()]
    return flags


def _root(task: str, splits: Mapping[str, Source], paths: Sequence[Path]) -> Path:
    """Return the folder, or the file with all splits, that the arguments of the splits are relative to."""
    sources = list(splits.values())
    tables = {source.files or source.path.parent for source in sources if source.path.suffix.lower() == ".csv"}
    if len(tables) > 1:  # whose paths are relative to one folder
        folders = ", ".join(map(str, tables))
        raise ValueError(f"the tables are in {folders}; expected one folder, which their paths start from. Move them.")
    if len(paths) > 1:
        common = Path(os.path.commonpath([path.absolute().parent for path in paths]))
        return common.relative_to(Path.cwd()) if common.is_relative_to(Path.cwd()) else common
    (path,) = paths
    if path.is_dir():
        # HMDB51's folder of lists is beside the folders of its classes
        return path.parent if task == "video" and all(source.split for source in sources) else path
    is_archive = all(source.split for source in sources) and path.suffix.lower() not in (".yaml", ".yml")
    return path if is_archive else path.parent


def _of_boxes(source: Source, root: Path) -> dict[str, str]:
    images = {} if source.files is None else {".images": _below(root, source.files)}
    return {".annotations": _below(root, source.path), **images}


def _of_masks(source: Source, root: Path) -> dict[str, str]:
    if source.path.suffix.lower() == ".json" and source.files is None:
        folder = find_image_folder(source.path, read_content(source.path).file_names)
    else:
        folder = source.files or root
    return {".masks": _below(root, source.path), ".images": _below(root, folder)}


def _of_labels(source: Source, root: Path) -> dict[str, str]:
    # of a file with all splits the name of one; of HMDB51's folder of lists both
    if source.split:
        return {"": source.split if source.path == root else f"{_below(root, source.path)}:{source.split}"}
    return {"": _below(root, source.path)}


_ARGUMENTS: Mapping[str, Arguments] = {
    "classification": _of_labels,
    "detection": _of_boxes,
    "instances": _of_boxes,
    "medical": _of_labels,
    "segmentation": _of_masks,
    "video": _of_labels,
}


def _below(root: Path, path: Path) -> str:
    """Return a path relative to the root, or absolute where it is elsewhere."""
    path, root = path.absolute(), root.absolute()
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)

"""Data sets that suit two tasks, of which the user chooses."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from vertebra.tasks.detection.formats import coco
from vertebra.tasks.detection.formats.outlines_at_a_glance import mask_lists, shows_outlines
from vertebra.tasks.loading.coco.content import mentions_outlines
from vertebra.tasks.loading.formats import Source
from vertebra.tasks.medical.formats.npz import read_headers
from vertebra.tools.checks.finders import FINDERS
from vertebra.tools.checks.group_columns import group_column


class Rival(NamedTuple):
    """Another task that a data set of one task may be for.

    Attributes:
        of: the task that is found first.
        task: the other.
        find: returns the splits of that task, none where it is not a matter of choice.
    """

    of: str
    task: str
    find: Callable[[Path, Sequence[Source], argparse.Namespace], list[Source]]


def _boxes_beside_masks(path: Path, found: Sequence[Source], flags: argparse.Namespace) -> list[Source]:
    finder = next(each for each in FINDERS if each.task == "detection")
    return [split.source for split in finder.find(path, flags)]


def _outlines_beside_boxes(path: Path, found: Sequence[Source], flags: argparse.Namespace) -> list[Source]:
    files = [source for source in found if coco.COCO.matches(source.path)]
    if not files or not all(mentions_outlines(source.path) for source in files):
        return []
    return files


def _masks_of_objects(path: Path, found: Sequence[Source], flags: argparse.Namespace) -> list[Source]:
    return mask_lists(path) or (list(found) if found and all(map(shows_outlines, found)) else [])


def _arrays_of_images(path: Path, found: Sequence[Source], flags: argparse.Namespace) -> list[Source]:
    """Return the splits of an archive of images, which may be photos or X-rays."""
    shapes = array_shapes(path)
    images = shapes.get("train_images", ())
    is_findings = len(shapes.get("train_labels", ())) == 2 and shapes["train_labels"][1] > 1
    is_volumes = len(images) == 4 and images[-1] != 3
    return [] if is_findings or is_volumes or not images else list(found)


def _table_of_patients(path: Path, found: Sequence[Source], flags: argparse.Namespace) -> list[Source]:
    column = group_column(found)
    return list(found) if column is not None and column.is_patient else []


RIVALS = (
    Rival("segmentation", "detection", _boxes_beside_masks),
    Rival("segmentation", "instances", _masks_of_objects),
    Rival("detection", "instances", _masks_of_objects),
    Rival("detection", "segmentation", _outlines_beside_boxes),
    Rival("medical", "classification", _arrays_of_images),
    Rival("classification", "medical", _table_of_patients),
)
FORMATS_OF = {"instances": "detection"}  # task -> that of the finder with its formats, where it is another
PURPOSES = {
    "classification": "a class for each image",
    "detection": "boxes around objects",
    "instances": "boxes around objects, and a mask of each",
    "medical": "a diagnosis for each study, with intervals over patients",
    "segmentation": "a class for each pixel",
    "video": "a class for each clip",
}


def array_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the arrays of an `.npz`, none of another file."""
    if file.suffix.lower() != ".npz":
        return {}
    return {name: header.shape for name, header in read_headers(file).items()}

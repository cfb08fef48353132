"""Data sets of boxes: COCO, YOLO, Pascal VOC."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import numpy as np

from vertebra.tasks.detection.annotations import Annotations
from vertebra.tasks.detection.check import check_images, find_untrained
from vertebra.tasks.detection.formats import find_sources, read_annotations
from vertebra.tasks.loading.coco.content import read_content
from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.loading.files.pixels import Pixels
from vertebra.tools.checks.source import Content, Source, counted, pixels_of

Split = tuple[Path, str]
Reader = Callable[[Split], tuple[Annotations, list[Fault]]]


def find_boxes(path: Path, options: argparse.Namespace) -> list[Source]:
    """List the splits of boxes at a path; each is compared with the training split there, or else of all paths."""
    splits = find_sources(path, options.split)
    given = [split for one in options.paths if one != path for split in find_sources(one, options.split)]
    training = next(filter(_is_training, [*splits, *given]), None)
    read = partial(_read, options=options)
    read_training = cache(read)  # once for all that are compared with it
    sources = []
    for split in splits:
        file, title = split[0], _title(split)
        compared = None if training is None or _is_training(split) else training
        content = partial(
            _content, split, read_training if split == training else read, compared, read_training, pixels_of(options)
        )
        # the files of one folder overlap by design (VOC's train and trainval); a YOLO's splits do not
        sources.append(Source(title, title if _is_yolo(file) else str(path), file, content))
    return sources


def _content(split: Split, read: Reader, training: Split | None, read_training: Reader, pixels: Pixels) -> Content:
    annotations, faults = read(split)
    if training is not None:
        try:
            trained = read_training(training)[0]
        except (FileNotFoundError, ValueError):  # which the report of that split says
            trained = annotations
        faults = [*faults, *find_untrained(annotations, trained, str(split[0]), _title(training))]
    outlines, note = _check_outlines(split[0]) if split[0].suffix.lower() == ".json" else ([], "")
    counts = np.bincount(annotations.instances.labels, minlength=len(annotations.class_names) + 1)[1:]
    boxes = dict(zip(annotations.class_names, counts.tolist(), strict=True))
    return Content(
        files=annotations.files.tolist(),
        told=lambda: counted("boxes", boxes) + note,
        faults=[*faults, *outlines],
        check_files=partial(check_images, annotations, faults, pixels=pixels),
    )


def _check_outlines(file: Path) -> tuple[list[Fault], str]:
    """Return the faults of a COCO file's outlines, and a note where it has none; others are those of its boxes."""
    content = read_content(file)
    if not content.has_outlines:
        return [], "; no outlines, which segmentation needs" if content.annotations else ""
    return list(content.outline_faults.values()), ""


def _read(split: Split, options: argparse.Namespace) -> tuple[Annotations, list[Fault]]:
    file, name = split
    images = options.images if file.suffix.lower() == ".json" else None
    return read_annotations(file, images, name, orientation=options.orientation)


def _title(split: Split) -> str:
    return f"{split[0]} {split[1]}" if _is_yolo(split[0]) else str(split[0])


def _is_yolo(file: Path) -> bool:
    return file.suffix.lower() in (".yaml", ".yml")


def _is_training(split: Split) -> bool:
    """Return whether a split is called train: in a YAML, by the name of its file, or by the folder around it."""
    file, name = split
    words = [file.absolute().parent.name, *re.split(r"[^a-z0-9]+", file.stem.lower())]  # instances_train2017
    return name == "train" if _is_yolo(file) else any(word.startswith("train") for word in words)

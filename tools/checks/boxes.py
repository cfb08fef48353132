"""Data sets of boxes: COCO, YOLO, Pascal VOC."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import numpy as np

from tasks.detection.check import check_images
from tasks.detection.formats import find_sources, read_annotations
from tools.checks.source import Content, Source, counted


def find_boxes(path: Path, options: argparse.Namespace) -> list[Source]:
    """List the splits of boxes at a path."""
    sources = []
    for file, split in find_sources(path, options.split):
        is_yolo = file.suffix.lower() in (".yaml", ".yml")
        title = f"{file} {split}" if is_yolo else str(file)
        # the files of one folder overlap by design (VOC's train and trainval); a YOLO's splits do not
        read = partial(_read_boxes, file, options.images if file.suffix.lower() == ".json" else None, split)
        sources.append(Source(title, title if is_yolo else str(path), file, read))
    return sources


def _read_boxes(file: Path, images: Path | None, split: str) -> Content:
    annotations, faults = read_annotations(file, images, split)
    counts = np.bincount(annotations.labels, minlength=len(annotations.class_names) + 1)[1:]
    return Content(
        files=annotations.files.tolist(),
        told=partial(counted, "boxes", dict(zip(annotations.class_names, counts.tolist(), strict=True))),
        faults=faults,
        check_files=partial(check_images, annotations),
    )

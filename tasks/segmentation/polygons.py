"""Masks drawn from the outlines of COCO's annotation files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from tasks import faults
from tasks.faults import Fault, UnreadableFile
from tasks.segmentation.labelled_masks import LabelledMasks, Masks, check_size

BACKGROUND = "background"


@dataclass(frozen=True)
class Outlines(Masks):
    """Objects by their outlines, of which the smaller ones lie on top; all other pixels are background, label 0.

    Args:
        file: the annotation file, for what there is to say.
        sizes: (N, 2) int64, height and width of each image as the file tells them.
        objects: for each image, label and outline of its objects: polygons, or COCO's run lengths.
    """

    file: str
    sizes: np.ndarray
    objects: Sequence[Sequence[tuple[int, Any]]]

    def read(self, index: int, image: str, size: tuple[int, int]) -> np.ndarray:
        height, width = self.sizes[index].tolist()
        check_size(self.file, (height, width), image, size)
        labels = np.zeros(size, dtype=np.uint8)
        try:
            areas = [(label, _area(outline, height, width)) for label, outline in self.objects[index]]
        except (TypeError, ValueError, KeyError, IndexError) as error:  # what pycocotools says of a broken outline
            raise UnreadableFile(f"{self.file}: an outline of {image} cannot be drawn ({error!r:.100}).") from None
        for label, area in sorted(areas, key=lambda pair: -int(pair[1].sum())):
            labels[area] = label
        return labels


def read_polygons(
    file: Path, images: Path, class_names: Sequence[str] | None = None
) -> tuple[LabelledMasks, list[Fault]]:
    """Read the objects of a COCO file as masks.

    Microsoft COCO, Lin et al. 2014, https://arxiv.org/abs/1405.0312. Labels are the categories in the order of their
    ids, behind the background.

    Args:
        file: the annotation file.
        images: folder that its file names are relative to.
        class_names: those of the training split, background first; None to read them.

    Returns:
        The images whose files exist, and a fault for each other one, and for each category that is not in
        `class_names`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no annotation file of COCO.
    """
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist; give COCO's annotation file, or a folder of masks.")
    try:
        content = json.loads(file.read_text("utf-8"))
        names = {int(each["id"]): str(each["name"]) for each in content["categories"]}
        rows = {int(each["id"]): each for each in content["images"]}
        outlines: dict[int, list[tuple[int, Any]]] = {number: [] for number in rows}
        for each in content["annotations"]:
            outlines[int(each["image_id"])].append((int(each["category_id"]), each["segmentation"]))
        sizes = {number: (int(row["height"]), int(row["width"])) for number, row in rows.items()}
        files = {number: images / str(row["file_name"]) for number, row in rows.items()}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{file}: is no COCO file with outlines ({error!r:.100}); expected are images, categories, and "
            "annotations with image_id, category_id and segmentation."
        ) from None
    classes = [BACKGROUND, *(names[number] for number in sorted(names))] if class_names is None else list(class_names)
    told = [
        Fault(faults.UNKNOWN_CATEGORY, str(file), f"category {names[number]!r} is not in the training split.")
        for number in sorted(names)
        if names[number] not in classes
    ]
    here = [number for number in rows if files[number].is_file()]
    told += [
        Fault(faults.MISSING_FILE, str(files[number]), f"does not exist, but {file} names it.")
        for number in rows
        if number not in here
    ]
    objects = [
        [(classes.index(names[kind]), outline) for kind, outline in outlines[number] if names[kind] in classes]
        for number in here
    ]
    size_rows = np.array([sizes[number] for number in here], dtype=np.int64).reshape(-1, 2)
    paths = np.array([str(files[number]) for number in here], dtype=str)
    return LabelledMasks(tuple(classes), paths, Outlines(str(file), size_rows, objects)), told


def _area(outline: Any, height: int, width: int) -> np.ndarray:
    """Draw polygons or run lengths as (height, width) bool."""
    if isinstance(outline, list):
        if not outline or any(len(polygon) < 6 or len(polygon) % 2 for polygon in outline):
            raise ValueError("expected are polygons of three or more corners, x and y of each")
        runs = coco_mask.merge(coco_mask.frPyObjects(outline, height, width))
    else:
        is_plain = isinstance(outline["counts"], list)
        runs = coco_mask.frPyObjects(outline, height, width) if is_plain else outline
    return coco_mask.decode(runs).astype(bool)

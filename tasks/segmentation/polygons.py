"""Masks drawn from the outlines of COCO's annotation files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vertebra.tasks.loading.data_root import find_outside
from vertebra.tasks.loading.files import faults
from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.loading.similar_names import similar_names
from vertebra.tasks.segmentation.coco_content import read_content
from vertebra.tasks.segmentation.ignore import IGNORE_INDEX
from vertebra.tasks.segmentation.labeled_masks import LabeledMasks, Masks, check_size
from vertebra.tasks.segmentation.outlines import draw_outline

BACKGROUND = "background"
DRAWN = (faults.DEGENERATE_OUTLINE,)  # faults that leave a part of an outline, or nothing, to be drawn


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
        areas = [(label, draw_outline(outline, height, width)) for label, outline in self.objects[index]]
        for label, area in sorted(areas, key=lambda pair: -int(pair[1].sum())):
            labels[area] = label
        return labels


def read_polygons(
    file: Path, images: Path, class_names: Sequence[str] | None = None, root: Path | None = None
) -> tuple[LabeledMasks, list[Fault]]:
    """Read the objects of a COCO file as masks.

    Microsoft COCO, Lin et al. 2014, https://arxiv.org/abs/1405.0312. Labels are the categories in the order of their
    ids, behind the background; a category of the name `background` is the background.

    Args:
        file: the annotation file.
        images: folder that its file names are relative to.
        class_names: those of the training split, background first; None to read them.
        root: folder that images may lie in, beside `images` and the annotation file's own.

    Returns:
        The images whose files exist, and the faults: of images, of ids, of categories that are not in `class_names`,
        and of outlines, each with its annotation's id.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no annotation file of COCO, or none of its annotations has an outline.
    """
    content = read_content(file)
    names, annotations = content.names, content.annotations
    if annotations and not content.has_outlines:
        raise ValueError(
            f"{file}: none of its {len(annotations)} annotations has an outline (the first is annotation "
            f"{annotations[0][0]}); a segmenter learns from outlines. Add segmentation to the annotations."
        )
    ordered = dict.fromkeys(names[number] for number in sorted(names))  # two ids of one name are one class
    classes = [BACKGROUND, *(name for name in ordered if name != BACKGROUND)]
    if class_names is not None:
        classes = list(class_names)
    if len(classes) > IGNORE_INDEX:
        raise ValueError(f"{file}: has {len(classes)} classes; a mask has room for {IGNORE_INDEX}. Merge categories.")
    told = [
        *content.faults,
        *(
            Fault(faults.UNKNOWN_CATEGORY, str(file), f"category {name!r} is not in the training split.")
            for name in ordered
            if name not in classes
        ),
        *(
            Fault(faults.SIMILAR_CLASSES, str(file), f"categories {one!r} and {other!r} are nearly the same name.")
            for one, other in similar_names(ordered)
        ),
    ]
    paths = [images / name for name in content.files.values()]
    remedy = "give a folder that holds it as an absolute path: data.root, or images of the split"
    outside = find_outside(file, paths, [root or images, images, file.parent], remedy)
    told += outside.values()
    here: dict[int, str] = {}  # image id -> path
    for place, (number, path) in enumerate(zip(content.files, paths, strict=True)):
        if place not in outside and not path.is_file():
            told.append(Fault(faults.MISSING_FILE, str(path), f"does not exist, but {file} names it."))
        elif place not in outside and content.sizes[number] is not None:
            here[number] = str(path)

    faulty = dict(content.outline_faults())
    told += [content.fault(file, place, *fault) for place, fault in faulty.items()]
    objects: dict[int, list[tuple[int, Any]]] = {number: [] for number in here}
    for place, (_, image, category, segmentation) in enumerate(annotations):
        if image not in content.files:
            message = f"is of image id {image!r}, which is not among the images."
            told.append(content.fault(file, place, faults.UNKNOWN_IMAGE, message))
        elif category not in names:
            message = f"is of category id {category!r}, which is not among the categories."
            told.append(content.fault(file, place, faults.UNKNOWN_CATEGORY, message))
        elif image in objects and names[category] in classes and (place not in faulty or faulty[place].kind in DRAWN):
            objects[image].append((classes.index(names[category]), segmentation))
    sizes = np.array([content.sizes[number] for number in here], dtype=np.int64).reshape(-1, 2)
    masks = Outlines(str(file), sizes, list(objects.values()))
    return LabeledMasks(tuple(classes), np.array(list(here.values()), dtype=str), masks), told

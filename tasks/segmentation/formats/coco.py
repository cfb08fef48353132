"""COCO segmentation format: masks drawn from the outlines of an annotation file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vertebra.tasks.loading.class_names import shortened
from vertebra.tasks.loading.coco.content import CocoContent, read_content
from vertebra.tasks.loading.coco.outlines import draw_outline
from vertebra.tasks.loading.data_root import find_outside
from vertebra.tasks.loading.files import faults
from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.loading.formats import Format, Source
from vertebra.tasks.loading.similar_names import similar_names
from vertebra.tasks.segmentation.formats.mask_options import MaskOptions
from vertebra.tasks.segmentation.ignore import IGNORE_INDEX
from vertebra.tasks.segmentation.labeled_masks import LabeledMasks, Masks, check_size

BACKGROUND = "background"
DRAWN = (faults.DEGENERATE_OUTLINE,)  # faults that leave a part of an outline, or nothing, to be drawn


@dataclass(frozen=True)
class Outlines(Masks):
    """Masks drawn from outlines: smaller objects over larger ones, all other pixels background, label 0.

    Args:
        file: the annotation file, for error messages.
        sizes: (N, 2) int64, height and width of each image as the file states them.
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
        root: folder that may hold images, beside `images` and the annotation file's own.

    Returns:
        The images whose files exist, and the faults; those of an annotation (an outline, a category that is not in
        `class_names`) have its id.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no annotation file of COCO, or none of its annotations has an outline.
    """
    content = read_content(file)
    if content.annotations and not content.has_outlines:
        raise ValueError(
            f"{file}: none of its {len(content.annotations)} annotations has an outline (the first is annotation "
            f"{content.annotation_ids[0]}); a segmenter learns from outlines. Add segmentation to the annotations."
        )
    # two ids of one name are one class
    names = dict.fromkeys(content.categories[number] for number in sorted(content.categories))
    classes = [BACKGROUND, *(name for name in names if name != BACKGROUND)] if class_names is None else [*class_names]
    if len(classes) > IGNORE_INDEX:
        raise ValueError(f"{file}: has {len(classes)} classes; a mask has room for {IGNORE_INDEX}. Merge categories.")
    label_of = {number: classes.index(name) for number, name in content.categories.items() if name in classes}
    paths = [os.path.normpath(images / name) for name in content.file_names]
    found = [
        *content.faults,
        *content.size_faults.values(),
        *(
            Fault(faults.SIMILAR_CLASSES, str(file), f"categories {one!r} and {other!r} are nearly the same name.")
            for one, other in similar_names(names)
        ),
        *_repeated_files(content, paths),
    ]
    remedy = "give a folder that holds it as an absolute path: data.root, or images of the split"
    outside = find_outside(file, paths, [root or images, images, file.parent], remedy)
    found += outside.values()
    # only images that can be used have an entry, in the order of the file
    objects: dict[int, list[tuple[int, Any]]] = {}  # by the index of the image
    for i, path in enumerate(paths):
        if i in outside:
            continue
        if not os.path.isfile(path):
            found.append(Fault(faults.MISSING_FILE, path, f"does not exist, but {file} names it."))
        elif content.sizes[i].all():
            objects[i] = []
        elif i not in content.size_faults:
            message = f"{content.title(i)} has no height and width; expected both, to draw outlines. Add them."
            found.append(Fault(faults.UNUSABLE_SIZE, str(file), message))

    found += content.outline_faults.values()
    for i, (record, image) in enumerate(zip(content.annotations, content.image_of.tolist(), strict=True)):
        if image < 0:
            continue
        fault = content.outline_faults.get(i)
        category = content.category_ids[i]
        if category not in label_of:
            shown = content.categories.get(category, category)
            message = f"category {shown!r:.80} is not among: {shortened(classes)}."
            found.append(content.fault(i, faults.UNKNOWN_CATEGORY, message)._replace(class_name=str(shown)))
        elif image in objects and (fault is None or fault.kind in DRAWN):
            objects[image].append((label_of[category], record.get("segmentation")))
    # outlines and not masks: drawn, a large data set would not fit into memory
    masks = Outlines(str(file), content.sizes[list(objects)], list(objects.values()))
    return LabeledMasks(tuple(classes), np.array([paths[i] for i in objects], dtype=str), masks), found


def _repeated_files(content: CocoContent, paths: Sequence[str]) -> Iterator[Fault]:
    ids_of: dict[str, list[int]] = {}
    for number, path in zip(content.image_ids, paths, strict=True):
        ids_of.setdefault(path, []).append(number)
    for i, path in enumerate(paths):
        ids = ids_of.pop(path, [])
        if len(ids) > 1:
            message = f"{content.title(i)} is listed {len(ids)} times; expected once."
            yield Fault(faults.DUPLICATE_FILE, str(content.file), message)


def _matches(path: Path) -> bool:
    return path.suffix.lower() == ".json"


def _find(wanted: Source, options: MaskOptions) -> list[Source]:
    return []  # `vertebra check` lists COCO files as boxes, and checks their outlines there


def _read(source: Source, options: MaskOptions, class_names: Sequence[str] | None) -> tuple[LabeledMasks, list[Fault]]:
    return read_polygons(source.path, source.files or source.path.parent, class_names, options.root)


COCO = Format("COCO's *.json", _matches, _find, _read)

"""Which reader a split belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.segmentation.class_files import read_classes
from vertebra.tasks.segmentation.folders import read_folders
from vertebra.tasks.segmentation.labeled_masks import LabeledMasks
from vertebra.tasks.segmentation.lists import read_list
from vertebra.tasks.segmentation.polygons import read_polygons


@dataclass
class Split:
    """Where the files of one split are, below `root`.

    Args:
        images: folder of images.
        masks: folder of masks with the images' names, COCO's annotation file (`.json`), or Pascal VOC's list of names
            (`ImageSets/Segmentation/train.txt`), which needs no `images`.
    """

    masks: str
    images: str = "."


def read_split(
    root: Path, split: Split, classes: str | None, ignored: Sequence[int] = (), class_names: Sequence[str] | None = None
) -> tuple[LabeledMasks, list[Fault]]:
    """Read what the files of a split say.

    Args:
        root: folder that the split stands in.
        split: the split.
        classes: see `class_files.read_classes`; a file of that name below `root` goes before any other. None for
            `classes.txt`. COCO's files tell their classes themselves.
        ignored: more values of masks that nobody has labeled.
        class_names: the classes that there must be, those of the training split; None to read them.

    Raises:
        FileNotFoundError: a file or folder does not exist.
        ValueError: a file cannot be understood, or has other classes than `class_names`.
    """
    source = root / split.masks
    if source.suffix.lower() == ".json":
        return read_polygons(source, root / split.images, class_names, root)
    inside = root / (classes or "classes.txt")
    meant = read_classes(inside if classes is None or inside.is_file() else classes, ignored)
    if class_names is not None and tuple(class_names) != meant.class_names:
        raise ValueError(f"data.classes tells {meant.class_names}, the classes in use are {tuple(class_names)}.")
    if source.suffix.lower() == ".txt":
        return read_list(source, meant)
    return read_folders(root / split.images, source, meant)

"""Segmentation formats: folders of masks, Pascal VOC's lists, and COCO's outlines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.loading.formats import Format, Source, read_source
from vertebra.tasks.segmentation.formats import coco, folders, voc
from vertebra.tasks.segmentation.formats.mask_options import MaskOptions
from vertebra.tasks.segmentation.labeled_masks import LabeledMasks

# their options are `MaskOptions`
FORMATS: tuple[Format[LabeledMasks], ...] = (coco.COCO, voc.LIST, folders.FOLDERS)


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
    """Read the annotations of a split.

    Args:
        root: folder of the data set.
        split: the split.
        classes: see `MaskOptions`. COCO's files list their classes themselves.
        ignored: more values of unlabeled pixels.
        class_names: the classes that there must be, those of the training split; None to read them.

    Raises:
        FileNotFoundError: a file or folder does not exist.
        ValueError: a file cannot be understood, or has other classes than `class_names`.
    """
    source = Source(root / split.masks, files=root / split.images)
    return read_source(FORMATS, source, MaskOptions(root, classes, ignored), class_names)

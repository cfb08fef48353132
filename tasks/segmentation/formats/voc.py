"""Pascal VOC segmentation format: a list of names, whose images and masks are in folders of fixed names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vertebra.tasks.loading.data_root import find_outside
from vertebra.tasks.loading.files import faults
from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.loading.files.text_files import read_text
from vertebra.tasks.loading.formats import Format, Source
from vertebra.tasks.segmentation.codings import Coding
from vertebra.tasks.segmentation.formats.mask_options import MaskOptions
from vertebra.tasks.segmentation.labeled_masks import LabeledMasks, MaskFiles


def read_list(file: Path, coding: Coding) -> tuple[LabeledMasks, list[Fault]]:
    """Read `ImageSets/Segmentation/SPLIT.txt`, a name a line: `JPEGImages/NAME.jpg`, `SegmentationClass/NAME.png`.

    The visual object classes challenge: A retrospective, Everingham et al. 2015,
    https://doi.org/10.1007/s11263-014-0733-5.

    Args:
        file: the list.
        coding: what the values of the masks mean.

    Returns:
        The images of which both files exist, and a fault for each of the others and for each name that comes twice.

    Raises:
        FileNotFoundError: the list, or the folder above it that holds `JPEGImages`, does not exist.
        ValueError: the list is empty.
    """
    if not file.exists():
        raise FileNotFoundError(f"{file} does not exist; give a list of names, or a folder of images and one of masks.")
    # the first word: lists of one class have a flag behind the name
    names = [line.split()[0] for line in read_text(file).splitlines() if line.strip()]
    root = next((folder for folder in file.parents if (folder / "JPEGImages").is_dir()), None)
    if root is None:
        raise FileNotFoundError(f"{file}: no folder above it holds JPEGImages; leave the list where VOC has it.")
    if not names:
        raise ValueError(f"{file}: holds no name; expected one a line.")
    found = [
        Fault(faults.DUPLICATE_FILE, str(file), f"lists {name!r} {count} times; keep one line of it.")
        for name, count in Counter(names).items()
        if count > 1
    ]
    pairs = []
    for name in dict.fromkeys(names):  # each once, or it would count twice in the scores
        pair = root / "JPEGImages" / f"{name}.jpg", root / "SegmentationClass" / f"{name}.png"
        outside = find_outside(file, pair, [root], "leave it below the folder that holds JPEGImages")
        if outside:
            found.append(next(iter(outside.values())))
            continue
        absent = [path for path in pair if not path.is_file()]
        found += [Fault(faults.MISSING_FILE, str(path), f"does not exist, but {file} names it.") for path in absent]
        if not absent:
            pairs.append([str(path) for path in pair])
    columns = np.array(pairs, dtype=str).reshape(-1, 2)
    return LabeledMasks(coding.class_names, columns[:, 0], MaskFiles(coding, columns[:, 1])), found


def _matches(path: Path) -> bool:
    return path.suffix.lower() == ".txt"


def _find(wanted: Source, options: MaskOptions) -> list[Source]:
    path = wanted.path
    # other lists of names, such as those of ImageSets/Main, are of boxes
    return [Source(path)] if path.is_file() and _matches(path) and path.parent.name == "Segmentation" else []


def _read(source: Source, options: MaskOptions, class_names: Sequence[str] | None) -> tuple[LabeledMasks, list[Fault]]:
    return read_list(source.path, options.coding(class_names))


LIST = Format("VOC's list ImageSets/Segmentation/*.txt", _matches, _find, _read)

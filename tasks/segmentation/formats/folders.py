"""A folder of images and a folder of masks, paired by their names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vertebra.tasks.loading.files import faults
from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.loading.files.image_files import find_images
from vertebra.tasks.loading.files.listing import entries
from vertebra.tasks.loading.formats import SPLIT_FOLDERS, Format, Source, splits_in
from vertebra.tasks.segmentation.codings import Coding
from vertebra.tasks.segmentation.formats.mask_options import MaskOptions
from vertebra.tasks.segmentation.labeled_masks import LabeledMasks, MaskFiles
from vertebra.tasks.segmentation.mask_files import LOSSY_SUFFIXES, NOT_LOSSY

# what known data sets put behind the name that an image and its mask share
_ENDINGS = ("_leftImg8bit", "_gtFine_labelIds", "_L")
# what Cityscapes has beside the masks of labelIds
_OTHER_IMAGES = ("_gtFine_color", "_gtFine_instanceIds", "_gtFine_labelTrainIds")


def read_folders(images: Path, masks: Path, coding: Coding) -> tuple[LabeledMasks, list[Fault]]:
    """Pair images with masks.

    An image `a/b.jpg` below the one folder belongs to the mask `a/b.png` below the other; the endings `_leftImg8bit`,
    `_gtFine_labelIds` (Cityscapes) and `_L` (CamVid) do not count. One folder may hold the images of all splits: an
    image without a mask is no fault if a folder of another split, beside that of the masks, has one.

    Args:
        images: folder of images.
        masks: folder of masks.
        coding: what the values of the masks mean.

    Returns:
        The images that have a mask, and the faults: images without a mask or with two, masks without an image, masks
        in JPEG.

    Raises:
        FileNotFoundError: a folder does not exist.
        ValueError: there are no images.
    """
    for folder in (images, masks):
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder} is no folder; give the folders of the images and of their masks.")
    files, mask_files = find_images([images]), find_images([masks])
    if not files:
        raise ValueError(f"{images}: holds no image; give the folder of the split's images.")
    found = []
    mask_of: dict[str, Path] = {}
    for file in mask_files:
        first = mask_of.setdefault(_key(file, masks), file)
        if first != file:
            message = f"is a mask of the same image as {first.name}; keep one of them."
            found.append(Fault(faults.CONFLICTING_LABELS, str(file), message))
    pairs = []
    elsewhere = _keys_of_other_splits(masks) if images.name != masks.name else set()
    for file in files:
        key = _key(file, images)
        mask = mask_of.get(key)
        if mask is None and key in elsewhere:
            continue
        if mask is None:
            message = f"has no mask below {masks}; draw it, or take the image out."
            found.append(Fault(faults.MISSING_FILE, str(file), message))
        elif mask.suffix.lower() in LOSSY_SUFFIXES:
            found.append(Fault(faults.LOSSY_MASK, str(mask), f"is a JPEG; {NOT_LOSSY}."))
        else:
            pairs.append((str(file), str(mask)))
    keys = {_key(file, images) for file in files}
    found += [
        Fault(faults.ORPHAN_LABELS, str(masks), f"{file.relative_to(masks)} is a mask without an image below {images}.")
        for key, file in mask_of.items()
        if key not in keys and not key.endswith(_OTHER_IMAGES)
    ]
    columns = np.array(pairs, dtype=str).reshape(-1, 2)
    return LabeledMasks(coding.class_names, columns[:, 0], MaskFiles(coding, columns[:, 1])), found


def _keys_of_other_splits(masks: Path) -> set[str]:
    """Return the keys of the masks of other splits, whose images may be in one folder with those of this one."""
    if masks.name not in _SPLITS:
        return set()
    others = [folder for folder in splits_in(masks.parent) if folder.name != masks.name]
    return {_key(file, folder) for folder in others for file in find_images([folder])}


def _key(file: Path, folder: Path) -> str:
    name = file.relative_to(folder).with_suffix("").as_posix()
    for ending in _ENDINGS:
        name = name.removesuffix(ending)
    return name


_SPLITS = frozenset(name for names in SPLIT_FOLDERS for name in names)
# folders of images and of masks, as data sets have them
_PAIRS = (
    ("images", "masks"),
    ("leftImg8bit", "gtFine"),
    ("images", "annotations"),
    ("images", "labels"),
    ("data", "labels"),  # of FiftyOne
)


def _find(wanted: Source, options: MaskOptions) -> list[Source]:
    """List the splits of a data set, the training split first."""
    path = wanted.path
    for images, masks in _PAIRS:
        if (path / images).is_dir() and (path / masks).is_dir() and find_images([path / masks]):
            inside = [name for name in entries(path / masks)[0] if find_images([path / masks / name])]
            are_divided = any((path / images / name).is_dir() for name in inside)
            if not are_divided:  # splits whose images are in one folder; other folders are of something else
                inside = [name for name in inside if name in _SPLITS]
            parts = sorted(inside, key=lambda name: not name.startswith("train")) or [""]
            return [
                Source(path / masks / part, files=path / images / part if are_divided else path / images)
                for part in parts
            ]
    return []


def _read(source: Source, options: MaskOptions, class_names: Sequence[str] | None) -> tuple[LabeledMasks, list[Fault]]:
    return read_folders(source.files or source.path, source.path, options.coding(class_names))


FOLDERS = Format("a folder of masks", Path.is_dir, _find, _read)

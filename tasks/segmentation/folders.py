"""A folder of images and a folder of masks, paired by their names."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tasks import faults
from tasks.faults import Fault
from tasks.images import find_images
from tasks.segmentation.codings import Coding
from tasks.segmentation.labelled_masks import LabelledMasks, MaskFiles

# what known data sets put behind the name that an image and its mask share
_ENDINGS = ("_leftImg8bit", "_gtFine_labelIds", "_L")


def read_folders(images: Path, masks: Path, coding: Coding) -> tuple[LabelledMasks, list[Fault]]:
    """Pair images with masks.

    An image `a/b.jpg` below the one folder belongs to the mask `a/b.png` below the other; the endings `_leftImg8bit`,
    `_gtFine_labelIds` (Cityscapes) and `_L` (CamVid) do not count.

    Args:
        images: folder of images.
        masks: folder of masks.
        coding: what the values of the masks mean.

    Returns:
        The images that have a mask, and a fault for each that has none.

    Raises:
        FileNotFoundError: a folder does not exist.
        ValueError: there are no images.
    """
    for folder in (images, masks):
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder} is no folder; give the folders of the images and of their masks.")
    mask_of = {_key(file, masks): file for file in find_images([masks])}
    files = find_images([images])
    if not files:
        raise ValueError(f"{images}: holds no image; give the folder of the split's images.")
    pairs = [(str(file), str(mask_of[key])) for file in files if (key := _key(file, images)) in mask_of]
    told = [
        Fault(faults.MISSING_FILE, str(file), f"has no mask below {masks}; draw it, or take the image out.")
        for file in files
        if _key(file, images) not in mask_of
    ]
    columns = np.array(pairs, dtype=str).reshape(-1, 2)
    return LabelledMasks(coding.class_names, columns[:, 0], MaskFiles(coding, columns[:, 1])), told


def _key(file: Path, folder: Path) -> str:
    name = file.relative_to(folder).with_suffix("").as_posix()
    for ending in _ENDINGS:
        name = name.removesuffix(ending)
    return name

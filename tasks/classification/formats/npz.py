"""Images and labels as arrays in one `.npz` file."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vertebra.tasks.classification.labeled_images import LabeledImages
from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.loading.formats import Format, Source


def read_arrays(file: Path, split: str) -> LabeledImages:
    """Read one split of an `.npz` that holds `train_images`, `train_labels` and the like for other splits.

    Images are (N, H, W) or (N, H, W, 3) uint8, labels (N,) or (N, 1) whole numbers from 0 on. The classes are the
    strings of `class_names` where the file has it, else the numbers up to the largest label of any split.

    Args:
        file: the `.npz`; it is never unpickled.
        split: `train`, `val` or `test`.

    Raises:
        ValueError: an array is missing, or has another shape or type.
    """
    try:
        with np.load(file, allow_pickle=False) as content:
            wanted = (f"{split}_images", f"{split}_labels")
            if not set(wanted) <= set(content.files):
                raise ValueError(
                    f"{file}: has no {' and '.join(wanted)}, but {', '.join(sorted(content.files))}. Save the arrays "
                    "under these names; data.val_fraction=0.1 takes a part of the training images instead of val."
                )
            images, labels = (content[name] for name in wanted)
            every = np.concatenate([content[name].ravel() for name in content.files if name.endswith("_labels")])
            names = [str(name) for name in content["class_names"]] if "class_names" in content.files else None
    except (zipfile.BadZipFile, OSError, KeyError, EOFError) as error:
        raise ValueError(f"{file}: cannot be read as .npz ({error}); write it with numpy.savez.") from error
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] not in (1, 3)):
        raise ValueError(
            f"{file}: {split}_images is {images.shape} {images.dtype}; expected (N, H, W) or (N, H, W, 3) uint8. "
            "Convert it to 8 bits with the channels last."
        )
    if not np.issubdtype(labels.dtype, np.integer) or labels.size != len(images):
        raise ValueError(
            f"{file}: {split}_labels is {labels.shape} {labels.dtype}; expected {len(images)} whole numbers, one for "
            "each image. Give one class an image."
        )
    # up to the largest label of any split, so that all splits have the same classes
    names = names or [str(label) for label in range(int(every.max()) + 1)]
    if len(every) and not 0 <= every.min() <= every.max() < len(names):
        raise ValueError(
            f"{file}: labels are {every.min()}..{every.max()}, but there are {len(names)} classes, which count from 0. "
            "Number the classes from 0, or correct class_names."
        )
    # gray is repeated: a network of three channels reads it as it is
    if images.ndim == 3:
        images = images[..., None]
    images = np.ascontiguousarray(np.broadcast_to(images, (*images.shape[:3], 3)))
    names_of_images = np.array([f"{file.name} {split} {i}" for i in range(len(images))], dtype=str)
    return LabeledImages(tuple(names), names_of_images, labels.reshape(-1).astype(np.int64), images)


def _matches(path: Path) -> bool:
    return path.suffix.lower() == ".npz"


def _find(wanted: Source, group: str | None) -> list[Source]:
    return [Source(wanted.path, split) for split in ("train", "val", "test")] if _matches(wanted.path) else []


def _read(source: Source, group: str | None, class_names: Sequence[str] | None) -> tuple[LabeledImages, list[Fault]]:
    return read_arrays(source.path, source.split), []


NPZ = Format(  # `vertebra check` reads an .npz as MedMNIST's, whose checks look at pixels, too
    "an .npz", _matches, _find, _read
)

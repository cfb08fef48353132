"""MedMNIST's `.npz`: images or volumes of one size, and labels, as arrays.

MedMNIST v2: A large-scale lightweight benchmark for 2D and 3D biomedical image classification, Yang et al. 2023,
https://arxiv.org/abs/2110.14795.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.loading.formats import Format, Source
from vertebra.tasks.medical.formats.npz import read_arrays, read_headers
from vertebra.tasks.medical.formats.study_options import StudyOptions
from vertebra.tasks.medical.memory import check_size
from vertebra.tasks.medical.studies import Arrays, Kind, Studies

MOST_CLASSES = 2**16  # more are ids or hashes


def read_medmnist(file: Path, split: str, kind: Kind, class_names: Sequence[str] | None = None) -> Studies:
    """Read one split: `train_images` and `train_labels`, and the like for other splits.

    Images are (N, H, W), (N, H, W, 3) or (N, D, H, W) and stay in the type that they have. Labels are (N,) or (N, 1)
    whole numbers from 0 on, or (N, K) of 0 and 1 for findings.

    Args:
        file: the `.npz`; it is never unpickled.
        split: `train`, `val` or `test`.
        kind: what the labels are.
        class_names: the classes in the order of their numbers; None for the numbers, up to the largest of any split.

    Raises:
        ValueError: an array is missing, has another shape, or has labels without a class or of another kind.
    """
    wanted = (f"{split}_images", f"{split}_labels")
    headers = read_headers(file)
    if not set(wanted) <= set(headers):
        raise ValueError(
            f"{file}: has no {' and '.join(wanted)}, but {', '.join(sorted(headers))}. Name another split, or take "
            "validation out of the training split with data.val_fraction=0.1."
        )
    shape, dtype = headers[wanted[0]]
    if len(shape) not in (3, 4) or dtype.kind not in "uif" or 0 in shape:
        raise ValueError(
            f"{file}: {split}_images is {shape} {dtype}; expected (N, H, W), (N, H, W, 3) or (N, D, H, W) of numbers. "
            "Save the arrays so."
        )
    check_size(f"{file}: an image of {split}_images", shape[1:])
    # the labels of every split, but only this split's images
    arrays = read_arrays(file, [name for name in headers if name.endswith("_labels") or name in wanted])
    images, labels = (arrays[name] for name in wanted)
    labels = labels[:, None] if labels.ndim == 1 else labels
    if labels.ndim != 2 or len(labels) != len(images) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"{file}: {split}_labels is {labels.shape} {labels.dtype}; expected a row of whole numbers for each of the "
            f"{len(images)} images. Save the arrays so."
        )
    if (labels.shape[1] > 1) != (kind == "findings"):
        meant = "findings" if labels.shape[1] > 1 else "classes or grades"
        raise ValueError(f"{file}: has {labels.shape[1]} labels an image, which are {meant}. Set data.kind so.")
    is_multiple = kind == "findings"
    number = labels.shape[1] if is_multiple else _num_classes(file, arrays)
    names = tuple(class_names or map(str, range(number)))
    highest = 1 if is_multiple else len(names) - 1
    odd = np.flatnonzero(((labels < 0) | (labels > highest)).any(axis=1))
    if len(odd):
        raise ValueError(
            f"{file}: {split} {odd[0]} has label {labels[odd[0]].tolist()} ({len(odd)} such); expected 0..{highest}. "
            "Correct the labels, or give every class a name in data.class_names."
        )
    if is_multiple and len(names) != number:
        raise ValueError(f"{file}: has {number} findings, but {len(names)} names: {', '.join(names)}. Name each.")
    title = f"{file.name} {split}"
    study_names = np.array([f"{title} {i}" for i in range(len(images))], dtype=str)
    return Studies(
        class_names=names,
        names=study_names,
        labels=labels.astype(np.float32) if is_multiple else labels[:, 0].astype(np.int64),
        patients=study_names,
        images=Arrays(images, np.arange(len(images)), title),
        file=str(file),
        rows=np.array([f"{split} {i}" for i in range(len(images))], dtype=str),
    )


def _num_classes(file: Path, arrays: Mapping[str, np.ndarray]) -> int:
    """Return one more than the largest label of any split."""
    highest = {
        name: int(array.max(initial=0))
        for name, array in arrays.items()
        if name.endswith("_labels") and np.issubdtype(array.dtype, np.integer)
    }
    name = max(highest, key=lambda name: highest[name])
    if highest[name] >= MOST_CLASSES:
        raise ValueError(
            f"{file}: {name} has a label {highest[name]}; expected numbers from 0 to below the number of classes. "
            "Count the classes from 0."
        )
    return 1 + highest[name]


def _matches(path: Path) -> bool:
    return path.suffix.lower() == ".npz"


def _find(wanted: Source, options: StudyOptions) -> list[Source]:
    if not wanted.path.is_file() or not _matches(wanted.path):
        return []
    try:
        headers = read_headers(wanted.path)
    except ValueError:  # which the reader of the split reports
        return [Source(wanted.path, "train")]
    return [Source(wanted.path, split) for split in ("train", "val", "test") if f"{split}_images" in headers]


def _read(source: Source, options: StudyOptions, class_names: Sequence[str] | None) -> tuple[Studies, list[Fault]]:
    return read_medmnist(source.path, source.split, options.kind or _kind(source), class_names), []


def _kind(source: Source) -> Kind:
    header = read_headers(source.path).get(f"{source.split}_labels")
    return "findings" if header is not None and header.shape[1:] and header.shape[1] > 1 else "classes"


MEDMNIST = Format("MedMNIST's .npz", _matches, _find, _read)

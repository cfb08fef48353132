"""CIFAR-10 and CIFAR-100 as they are published: the archives with Python's pickles, and those with plain bytes.

Learning Multiple Layers of Features from Tiny Images, Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html
"""

from __future__ import annotations

import io
import pickle
import re
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from vertebra.tasks.classification.labeled_images import LabeledImages
from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.loading.formats import Format, Source

_SIDE = 32  # pixels
_SPLITS = ("train", "test")
_ARCHIVES = (".tar.gz", ".tgz", ".tar")
_FILES = ("test_batch", "test_batch.bin", "train", "train.bin")  # of which a folder holds one, unpacked
_WANTED = re.compile(r"((data|test)_batch(_\d)?(\.bin)?|(train|test)(\.bin)?|batches\.meta(\.txt)?|meta|fine_label.*)")

# Whatever else a pickle refers to is refused: it may be any function of this machine.
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    # NumPy 2 moved it and warns about the old path; the reduction of an array refers to either
    ("numpy.core.multiarray", "_reconstruct"): np.zeros(0).__reduce__()[0],
    ("numpy._core.multiarray", "_reconstruct"): np.zeros(0).__reduce__()[0],
}


def read_cifar(archive: Path, split: str) -> LabeledImages:
    """Read the 32 x 32 images of one split of CIFAR-10 or CIFAR-100 (its 100 fine classes).

    Args:
        archive: the published `.tar.gz`, of the Python or of the binary version, or the folder that it unpacks to.
        split: `train` (50,000 images) or `test` (10,000).

    Raises:
        ValueError: there is no such split, or the file is not CIFAR's.
    """
    if split not in _SPLITS:
        raise ValueError(
            f"{archive}: CIFAR has no split {split!r}, but train and test. Measure on data.val=test while training, "
            "or on a part of the training images with data.val_fraction=0.1."
        )
    try:
        parts = _members(archive)
        if {"data_batch_1", "test_batch"} & set(parts):
            read = _from_pickles(parts, "data_batch_" if split == "train" else "test_batch", b"labels")
            names = _unpickle(parts["batches.meta"])[b"label_names"]
        elif "meta" in parts:
            read = _from_pickles(parts, split, b"fine_labels")
            names = _unpickle(parts["meta"])[b"fine_label_names"]
        elif "batches.meta.txt" in parts:
            read = _from_bytes(parts, "data_batch_" if split == "train" else "test_batch", label_bytes=1)
            names = parts["batches.meta.txt"].split()
        elif "fine_label_names.txt" in parts:
            read = _from_bytes(parts, split, label_bytes=2)  # a coarse label, then the fine one
            names = parts["fine_label_names.txt"].split()
        else:
            raise ValueError(f"holds none of CIFAR's files but {', '.join(sorted(parts)) or 'nothing'}")
        pixels, labels = read
        if len(labels) != len(pixels) or not len(labels) or not 0 <= labels.min() <= labels.max() < len(names):
            raise ValueError(f"has {len(pixels)} images, {len(labels)} labels and {len(names)} classes")
    except Exception as error:  # what is raised depends on which byte is wrong
        raise ValueError(
            f"{archive}: is not one of CIFAR's archives ({error}). Give cifar-10-python.tar.gz or "
            "cifar-100-python.tar.gz (or their binary versions) as they are published."
        ) from error
    images = pixels.reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1)
    names_of_images = np.array([f"{archive.name} {split} {i}" for i in range(len(labels))])
    return LabeledImages(tuple(name.decode() for name in names), names_of_images, labels, np.ascontiguousarray(images))


def _members(archive: Path) -> dict[str, bytes]:
    """Return CIFAR's files by their names."""
    if archive.is_dir():
        return {path.name: path.read_bytes() for path in archive.iterdir() if _WANTED.fullmatch(path.name)}
    parts = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            name = Path(member.name).name
            if member.isfile() and _WANTED.fullmatch(name) and (stream := tar.extractfile(member)):
                parts[name] = stream.read()
    return parts


def _from_pickles(parts: Mapping[str, bytes], start: str, labels_key: bytes) -> tuple[np.ndarray, np.ndarray]:
    batches = [_unpickle(parts[name]) for name in sorted(parts) if name.startswith(start)]
    pixels = np.concatenate([np.asarray(batch[b"data"], dtype=np.uint8) for batch in batches])
    return pixels, np.concatenate([np.asarray(batch[labels_key], dtype=np.int64) for batch in batches])


def _from_bytes(parts: Mapping[str, bytes], start: str, label_bytes: int) -> tuple[np.ndarray, np.ndarray]:
    batches = [np.frombuffer(parts[name], np.uint8) for name in sorted(parts) if name.startswith(start)]
    rows = np.concatenate(batches).reshape(-1, label_bytes + 3 * _SIDE**2)
    return rows[:, label_bytes:], rows[:, label_bytes - 1].astype(np.int64)


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            _refuse(module, name)
        return _ALLOWED[module, name]


def _refuse(module: str, name: str) -> NoReturn:
    raise pickle.UnpicklingError(f"its pickle refers to {module}.{name}, which no array of numbers needs")


def _unpickle(content: bytes) -> dict[bytes, Any]:
    # Python 2 wrote these files: its strings are bytes
    return _ArraysOnly(io.BytesIO(content), encoding="bytes").load()


def _matches(path: Path) -> bool:
    return path.name.lower().endswith(_ARCHIVES) or any((path / name).is_file() for name in _FILES)


def _find(wanted: Source, group: str | None) -> list[Source]:
    return [Source(wanted.path, split) for split in _SPLITS] if _matches(wanted.path) else []


def _read(source: Source, group: str | None, class_names: Sequence[str] | None) -> tuple[LabeledImages, list[Fault]]:
    return read_cifar(source.path, source.split), []


CIFAR = Format("CIFAR's .tar.gz", _matches, _find, _read)

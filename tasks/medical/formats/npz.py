"""NumPy's `.npz`: arrays are read once their headers have been compared with the bytes that the file has for them."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vertebra.tasks.medical.memory import MAX_DEFLATE_RATIO, machine_memory

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class Header(NamedTuple):
    """Header of an array of the file.

    Attributes:
        shape: its axes.
        dtype: of its values.
    """

    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def nbytes(self) -> int:
        """Bytes that the array takes."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_headers(file: Path) -> dict[str, Header]:
    """Read which arrays there are, and nothing of their values.

    Raises:
        ValueError: the file is no `.npz`, or the header of an array declares more or fewer values than it has.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            entries = [entry for entry in archive.infolist() if entry.filename.endswith(".npy")]
            return {entry.filename[: -len(".npy")]: _header(archive, entry) for entry in entries}
    except Exception as error:  # what zipfile and NumPy raise depends on which byte is wrong
        raise _unreadable(file, error) from error


def read_arrays(file: Path, names: Collection[str]) -> dict[str, np.ndarray]:
    """Read some of the arrays; nothing is ever unpickled.

    Args:
        file: the `.npz`.
        names: of the arrays, which `read_headers` has found.

    Raises:
        ValueError: the file cannot be read, or its arrays do not fit into memory.
    """
    headers = read_headers(file)
    needed = sum(headers[name].nbytes for name in names)
    memory = machine_memory()
    if memory is not None and needed > memory:
        raise ValueError(
            f"{file}: {', '.join(names)} take {needed / 2**30:.0f} GiB, but this machine has {memory / 2**30:.0f} GiB "
            "of memory. Use a machine with more, or smaller images."
        )
    try:
        with np.load(file, allow_pickle=False) as content:
            return {name: content[name] for name in names}
    except Exception as error:  # as above, from the values
        raise _unreadable(file, error) from error


def _header(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Header:
    with archive.open(entry) as stream:
        version = np.lib.format.read_magic(stream)
        if version not in _HEADERS:
            raise ValueError(f"{entry.filename} is of version {version}; expected 1.0 or 2.0")
        shape, _, dtype = _HEADERS[version](stream)
        header, begin = Header(shape, dtype), stream.tell()
    if dtype.hasobject:
        raise ValueError(f"{entry.filename} holds Python objects, which are not unpickled; expected numbers")
    most = entry.compress_size * (1 if entry.compress_type == zipfile.ZIP_STORED else MAX_DEFLATE_RATIO)
    if min(shape, default=0) < 0 or begin + header.nbytes != entry.file_size or entry.file_size > most:
        raise ValueError(
            f"{entry.filename} declares {shape} {dtype}, {begin + header.nbytes} bytes, but has "
            f"{entry.file_size}, {entry.compress_size} of them packed"
        )
    return header


def _unreadable(file: Path, error: Exception) -> ValueError:
    return ValueError(f"{file}: cannot be read as .npz ({' '.join(str(error).split())}); download or save it again.")

"""Open a DICOM file, with the header of the standard or without it."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from vertebra.tasks.medical.scans import DICOM_SUFFIXES, UnreadableScan

_PREAMBLE = 132  # bytes of which the last four are DICM
_MOST_INFLATED = 2**31  # bytes; as many pixels as `memory.MAX_PIXELS` allows, of 16 bits


def is_dicom_file(path: str) -> bool:
    """Tell by its first bytes whether a file is DICOM; one without preamble begins with an element of a low group.

    A file that cannot be read counts, so that `open_dicom` reports it.
    """
    try:
        with open(path, "rb") as file:
            begin = file.read(_PREAMBLE)
    except OSError:
        return True
    return begin[128:] == b"DICM" or _is_element(begin)


def dicom_files(folder: str) -> list[str]:
    """List the DICOM files that lie in a folder itself, in the order of their names; they need no suffix.

    Raises:
        UnreadableScan: the folder cannot be read.
    """
    try:
        files = [os.path.join(folder, name) for name in sorted(os.listdir(folder)) if not name.startswith(".")]
        return [
            file
            for file in files
            if os.path.isfile(file)
            and Path(file).name.upper() != "DICOMDIR"  # a list of files
            and (Path(file).suffix.lower() in DICOM_SUFFIXES or is_dicom_file(file))
        ]
    except OSError as error:
        raise UnreadableScan(
            f"{folder}: cannot be read ({error.strerror}). Give yourself the right to read."
        ) from error


def open_dicom(path: str) -> Dataset:
    """Read a file; its pixels are decoded later.

    Returns:
        A data set whose `file_meta` has the transfer syntax.

    Raises:
        UnreadableScan: the file is broken or no DICOM file.
    """
    try:
        with open(path, "rb") as file:
            begin = file.read(1024)
        has_preamble = begin[128:_PREAMBLE] == b"DICM"
        if has_preamble and DeflatedExplicitVRLittleEndian.encode() in begin:
            _check_inflated(path)
        if not has_preamble and not _is_element(begin):
            raise UnreadableScan(
                f"{path}: is no DICOM file, it begins with {begin[:12]!r}; expected .nii, .nii.gz, an image, a DICOM "
                "file, or a folder of DICOM files. Fix the path."
            )
        dataset = dcmread(path, force=not has_preamble)
        if not has_preamble:
            _check_content(path, dataset)
        return _with_syntax(path, dataset)
    except UnreadableScan:
        raise
    except Exception as error:  # what pydicom raises depends on which byte is wrong
        reason = " ".join(repr(error).split())
        raise UnreadableScan(f"{path}: cannot be read as DICOM: {reason:.200}. Copy it again.") from error


def _is_element(begin: bytes) -> bool:
    """Tell whether bytes begin with an element of group 2 or 8, the first of a file, that has a sound length."""
    if len(begin) < 12:
        return False
    group, _, length = struct.unpack("<HHI", begin[:8])
    if group not in (2, 8):
        return False
    is_explicit = begin[4:6].isalpha() and begin[4:6].isupper()
    return is_explicit or length < 2**16


def _check_content(path: str, dataset: Dataset) -> None:
    """Refuse a file without preamble that says nothing of what every DICOM image says: it is something else."""
    if "SOPClassUID" not in dataset and not ("Rows" in dataset and "Columns" in dataset):
        raise UnreadableScan(
            f"{path}: is no DICOM file: it has neither a preamble nor SOPClassUID, Rows and Columns. Fix the path, or "
            "remove the file."
        )


def _with_syntax(path: str, dataset: Dataset) -> Dataset:
    """Give a file that does not name its transfer syntax the one that it was read by, which is never compressed."""
    if getattr(dataset, "file_meta", None) is None:
        dataset.file_meta = FileMetaDataset()
    if "TransferSyntaxUID" not in dataset.file_meta:
        is_implicit, is_little = dataset.original_encoding
        if not is_little or ("PixelData" in dataset and dataset["PixelData"].is_undefined_length):
            raise UnreadableScan(
                f"{path}: does not name its transfer syntax, and its pixels are compressed. Export it again."
            )
        syntax = ImplicitVRLittleEndian if is_implicit else ExplicitVRLittleEndian
        dataset.file_meta.TransferSyntaxUID = syntax
    return dataset


def _check_inflated(path: str) -> None:
    """Refuse a deflated file that pydicom, which inflates all at once, would fill the memory with."""
    inflater, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    with open(path, "rb") as file:
        file.seek(140)  # the length of the rest of the file meta information
        file.seek(144 + struct.unpack("<I", file.read(4))[0])
        while (part := inflater.unconsumed_tail or file.read(2**16)) and not inflater.eof:
            size += len(inflater.decompress(part, 2**20))
            if size > _MOST_INFLATED:
                raise UnreadableScan(
                    f"{path}: inflates to more than {_MOST_INFLATED} bytes from {os.path.getsize(path)}; expected an "
                    "image. Remove it from the data set."
                )

"""Opening DICOM files, with or without preamble and file meta information."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from vertebra.tasks.medical.scans import DICOM_SUFFIXES, UnreadableScan

_PREAMBLE = 132  # bytes: 128 of preamble, then the prefix DICM
_MAX_INFLATED = 2**31  # bytes: `memory.MAX_PIXELS` pixels of 16 bits


def is_dicom_file(path: str) -> bool:
    """Return whether the first bytes are DICOM; a file without preamble begins with an element of a low group.

    True for a file that cannot be opened, so that `open_dicom` reports it.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(_PREAMBLE)
    except OSError:
        return True
    return head[128:] == b"DICM" or _is_element(head)


def dicom_files(folder: str) -> list[str]:
    """List the DICOM files directly in a folder, sorted by name; no suffix is required.

    Raises:
        UnreadableScan: the folder cannot be read.
    """
    try:
        files = [os.path.join(folder, name) for name in sorted(os.listdir(folder)) if not name.startswith(".")]
        return [
            file
            for file in files
            if os.path.isfile(file)
            and Path(file).name.upper() != "DICOMDIR"  # DICOM too, but an index of files without pixels
            and (Path(file).suffix.lower() in DICOM_SUFFIXES or is_dicom_file(file))
        ]
    except OSError as error:
        raise UnreadableScan(
            f"{folder}: cannot be read ({error.strerror}); expected a readable folder. Fix its permissions."
        ) from error


def open_dicom(path: str) -> Dataset:
    """Read a file without decoding its pixels.

    Returns:
        A data set whose `file_meta` has a transfer syntax.

    Raises:
        UnreadableScan: the file is damaged or not DICOM.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(1024)
        has_preamble = head[128:_PREAMBLE] == b"DICM"
        # before `dcmread`, which inflates the whole file into memory
        if has_preamble and DeflatedExplicitVRLittleEndian.encode() in head:
            _check_inflated(path)
        if not has_preamble and not _is_element(head):
            raise UnreadableScan(
                f"{path}: is not a DICOM file, it begins with {head[:12]!r}; expected .nii, .nii.gz, an image, a DICOM "
                "file, or a folder of DICOM files. Fix the path."
            )
        dataset = dcmread(path, force=not has_preamble)
        if not has_preamble:
            _check_content(path, dataset)
        return _with_transfer_syntax(path, dataset)
    except UnreadableScan:
        raise
    except Exception as error:  # the exception type of pydicom depends on which byte is wrong
        reason = " ".join(repr(error).split())
        raise UnreadableScan(f"{path}: cannot be read as DICOM: {reason:.200}. Copy the file again.") from error


def _is_element(head: bytes) -> bool:
    """Return whether bytes begin with a data element of group 2 or 8, the first of any file, of plausible length."""
    if len(head) < 12:
        return False
    group, _, length = struct.unpack("<HHI", head[:8])
    if group not in (2, 8):
        return False
    # explicit VR has two capital letters where implicit VR has the low bytes of the length
    is_explicit = head[4:6].isalpha() and head[4:6].isupper()
    return is_explicit or length < 2**16


def _check_content(path: str, dataset: Dataset) -> None:
    """Reject a file without preamble and without the mandatory attributes of images: `force` parses any bytes."""
    if "SOPClassUID" not in dataset and not ("Rows" in dataset and "Columns" in dataset):
        raise UnreadableScan(
            f"{path}: is not a DICOM file, it has neither a preamble nor SOPClassUID, Rows and Columns. Fix the path, "
            "or remove the file."
        )


def _with_transfer_syntax(path: str, dataset: Dataset) -> Dataset:
    """Add a missing transfer syntax: the uncompressed one of the encoding that pydicom detected."""
    if getattr(dataset, "file_meta", None) is None:
        dataset.file_meta = FileMetaDataset()
    if "TransferSyntaxUID" not in dataset.file_meta:
        is_implicit, is_little = dataset.original_encoding
        # undefined length marks encapsulated pixels, whose codec only the transfer syntax gives
        if not is_little or ("PixelData" in dataset and dataset["PixelData"].is_undefined_length):
            raise UnreadableScan(
                f"{path}: has no transfer syntax, but its pixels are compressed. Export the file again with its file "
                "meta information."
            )
        syntax = ImplicitVRLittleEndian if is_implicit else ExplicitVRLittleEndian
        dataset.file_meta.TransferSyntaxUID = syntax
    return dataset


def _check_inflated(path: str) -> None:
    """Reject decompression bombs: inflate in chunks and count bytes without keeping them."""
    inflater, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    with open(path, "rb") as file:
        # offset 140: length of the file meta information that begins at 144 and is never deflated
        file.seek(140)
        file.seek(144 + struct.unpack("<I", file.read(4))[0])
        while (part := inflater.unconsumed_tail or file.read(2**16)) and not inflater.eof:
            size += len(inflater.decompress(part, 2**20))
            if size > _MAX_INFLATED:
                raise UnreadableScan(
                    f"{path}: inflates to more than {_MAX_INFLATED} bytes from {os.path.getsize(path)}; expected an "
                    "image. Remove it from the data set."
                )

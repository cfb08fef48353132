"""Reads a scan in whichever of the formats its path is."""

from __future__ import annotations

import os
from pathlib import Path

from vertebra.tasks.loading.files.images import IMAGE_SUFFIXES
from vertebra.tasks.medical.scans import NIFTI_SUFFIXES, Scan, UnreadableScan, finite


def read_scan(path: str | os.PathLike[str]) -> Scan:
    """Read NIfTI (`.nii`, `.nii.gz`), a DICOM file, a folder of the slices of a DICOM series, or an image file.

    Raises:
        UnreadableScan: the file is missing, broken or of another kind; a series lacks a slice or has mixed spacing,
            size or orientation; a pixel is not a finite number; or the scan does not fit into memory.
    """
    try:
        return finite(_read(os.fspath(path)))
    except MemoryError as error:
        raise UnreadableScan(
            f"{os.fspath(path)}: does not fit into the memory that is free. Use fewer loader processes "
            "(data.num_workers), or crop or resample the scan."
        ) from error


def _read(name: str) -> Scan:
    # imported here: whoever has files of one format needs no libraries of the others
    from vertebra.tasks.medical.dicom import read_dicom
    from vertebra.tasks.medical.dicom_series import read_series
    from vertebra.tasks.medical.nifti import read_nifti
    from vertebra.tasks.medical.pictures import read_picture

    if os.path.isdir(name):
        return read_series(name)
    if not os.path.exists(name):
        raise UnreadableScan(f"{name}: does not exist. Put the file there, or correct the path.")
    if not os.path.isfile(name):
        raise UnreadableScan(f"{name}: is neither a file nor a folder. Fix the path.")
    if not os.path.getsize(name):
        raise UnreadableScan(f"{name}: is empty (0 bytes). Copy it again.")
    if name.lower().endswith(NIFTI_SUFFIXES):
        return read_nifti(name)
    if Path(name).suffix.lower() in IMAGE_SUFFIXES:
        return read_picture(name)
    return read_dicom(name)

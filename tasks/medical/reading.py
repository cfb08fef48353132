"""Reading of scans in any supported format, chosen by path and content."""

from __future__ import annotations

import os
from pathlib import Path

from vertebra.tasks.loading.files.images import IMAGE_SUFFIXES
from vertebra.tasks.medical.scans import NIFTI_SUFFIXES, Scan, UnreadableScan, finite


def read_scan(path: str | os.PathLike[str]) -> Scan:
    """Read NIfTI (`.nii`, `.nii.gz`), a DICOM file, a folder with a DICOM series, or an image file.

    Raises:
        UnreadableScan: the file is missing, damaged or of another format; a series lacks a slice or has mixed spacing,
            size or orientation; a pixel is not finite; or the scan does not fit into memory.
    """
    try:
        return finite(_read(os.fspath(path)))
    except MemoryError as error:
        raise UnreadableScan(
            f"{os.fspath(path)}: does not fit into free memory. Use fewer loader processes "
            "(data.num_workers), or crop or resample the scan."
        ) from error


def _read(name: str) -> Scan:
    # imported here: each format needs only its own library, and nibabel and pydicom are slow to import
    from vertebra.tasks.medical.dicom import read_dicom
    from vertebra.tasks.medical.dicom_series import read_series
    from vertebra.tasks.medical.nifti import read_nifti
    from vertebra.tasks.medical.pictures import read_picture

    if os.path.isdir(name):
        return read_series(name)
    if not os.path.exists(name):
        raise UnreadableScan(f"{name}: does not exist. Add the file, or fix the path.")
    if not os.path.isfile(name):  # a pipe or device, where reading could block
        raise UnreadableScan(f"{name}: is neither a file nor a folder. Fix the path.")
    if not os.path.getsize(name):
        raise UnreadableScan(f"{name}: is empty (0 bytes). Copy the file again.")
    if name.lower().endswith(NIFTI_SUFFIXES):
        return read_nifti(name)
    if Path(name).suffix.lower() in IMAGE_SUFFIXES:
        return read_picture(name)
    return read_dicom(name)  # last, as DICOM files need no suffix

"""Scans without labels: files, and folders of the slices of a volume."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.loading.files.images import IMAGE_SUFFIXES
from vertebra.tasks.loading.files.listing import natural_key, walk
from vertebra.tasks.loading.formats import Format, Source, splits_in
from vertebra.tasks.medical.formats.study_options import StudyOptions
from vertebra.tasks.medical.scans import NIFTI_SUFFIXES, SCAN_SUFFIXES
from vertebra.tasks.medical.studies import Studies, unlabeled_studies


def find_scans(paths: Iterable[str | os.PathLike[str]]) -> list[str]:
    """List scans: a file as given, and those of folders in the order of their paths.

    The DICOM files of one folder are one scan where they have positions in a patient, as slices do; then the folder is
    named, even if the series is incomplete, which its reader reports. Else, as X-rays, each is a scan of its own.

    Raises:
        FileNotFoundError: a path does not exist.
        ValueError: a folder holds no scan.
    """
    found: list[str] = []
    for given in paths:
        path = os.fspath(given)
        if not os.path.exists(path):
            raise FileNotFoundError(f"{path} does not exist; expected a scan or a folder of scans. Correct the path.")
        inside = _below(path) if os.path.isdir(path) else [path]
        if not inside:
            raise ValueError(f"{path}: holds no scan (.nii, .nii.gz, DICOM, or an image). Correct the path.")
        found += inside
    return found


def _below(folder: str) -> list[str]:
    from vertebra.tasks.medical.dicom_file import dicom_files
    from vertebra.tasks.medical.dicom_series import is_stack

    found: list[str] = []
    for parent, _, names in walk(folder):
        files = [os.path.join(parent, name) for name in names]
        own = {file for file in files if file.lower().endswith((*NIFTI_SUFFIXES, *IMAGE_SUFFIXES))}
        slices = dicom_files(parent)
        found += sorted(own | ({parent} if is_stack(slices) else set(slices)), key=natural_key)
    return found


def holds_scans(path: Path) -> bool:
    """Return whether a path is a scan or holds one, by the names of files; DICOM files may have no suffix."""
    if path.is_file():
        return path.name.lower().endswith(SCAN_SUFFIXES)
    from vertebra.tasks.medical.dicom_file import is_dicom_file  # imports pydicom, which not every data set needs

    for folder, _, names in walk(path):
        # files without a suffix, or with parts of an id for one, are opened: scanners write DICOM so
        for name in names:
            file = os.path.join(folder, name)
            if name.lower().endswith(SCAN_SUFFIXES) or (
                not Path(name).suffix.strip(".0123456789") and os.path.isfile(file) and is_dicom_file(file)
            ):
                return True
    return False


def _find(wanted: Source, options: StudyOptions) -> list[Source]:
    return [Source(path) for path in splits_in(wanted.path) or [wanted.path] if holds_scans(path)]


def _read(source: Source, options: StudyOptions, class_names: Sequence[str] | None) -> tuple[Studies, list[Fault]]:
    return unlabeled_studies(find_scans([source.path]), class_names or (), options.kind or "classes", False), []


SCANS = Format("a folder of NIfTI or DICOM", Path.exists, _find, _read)

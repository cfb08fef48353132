"""Data sets of scans: lists of studies, MedMNIST's arrays, ChestX-ray14, and folders without labels."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from vertebra.tasks.loading.files.csv_rows import first_path
from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.loading.files.listing import walk
from vertebra.tasks.medical.balance import class_counts
from vertebra.tasks.medical.check import StudyCheck
from vertebra.tasks.medical.chest_xray14 import find_entries
from vertebra.tasks.medical.formats import read_studies
from vertebra.tasks.medical.npz import read_headers
from vertebra.tasks.medical.scan_folders import find_scans
from vertebra.tasks.medical.scans import DICOM_SUFFIXES, NIFTI_SUFFIXES
from vertebra.tasks.medical.studies import Kind, Studies, unlabeled_studies
from vertebra.tasks.medical.study_tables import Columns
from vertebra.tools.checks.source import Content, Source, counted

_SUFFIXES = (*NIFTI_SUFFIXES, *DICOM_SUFFIXES)


def find_studies(path: Path, options: argparse.Namespace) -> list[Source]:
    """List the splits of labeled studies at a path; the first of all tells which classes there are."""
    splits = [split for given in options.paths for split in _splits(given, options)]
    sources = []
    for root, source in _splits(path, options):
        title = f"{root} {source}" if root.is_file() else str(root / source)
        read = partial(_read, root, source, splits[0], title, options)
        sources.append(Source(title, title, root if root.is_file() else root / source, read))
    return sources


def find_unlabeled_scans(path: Path, options: argparse.Namespace) -> list[Source]:
    """List the scans at a path of which nothing is said, those of train, val and test apart."""
    inside = [path / name for name in ("train", "val", "test") if (path / name).is_dir()]
    return [
        Source(str(place), str(place), place, partial(_read_unlabeled, place))
        for place in inside or [path]
        if _holds_scans(place)
    ]


def _splits(path: Path, options: argparse.Namespace) -> list[tuple[Path, str]]:
    """List what is at a path as `MedicalData` is told it, root and source, the training split first."""
    suffix = path.suffix.lower()
    if not path.is_file() or suffix not in (".npz", ".csv", ".txt"):
        return []
    if suffix == ".npz":
        return [(path, split) for split in _splits_of_arrays(path)]
    if find_entries(path) is None and not (suffix == ".csv" and _lists_scans(path, options)):
        return []
    root = options.images or path.parent
    return [(root, os.path.relpath(path, root))]


def _splits_of_arrays(file: Path) -> list[str]:
    try:
        headers = read_headers(file)
    except ValueError:  # which the reader of the split reports
        return ["train"]
    return [split for split in ("train", "val", "test") if f"{split}_images" in headers]


def _lists_scans(file: Path, options: argparse.Namespace) -> bool:
    """Tell by a flag that only such lists need, or by the first path, whether a CSV lists scans."""
    if options.patient or options.study or options.labels:
        return True
    first = first_path(file)
    lies = (options.images or file.parent) / first
    return first.lower().endswith(_SUFFIXES) or (bool(first) and lies.is_dir() and _holds_scans(lies))


def _holds_scans(path: Path) -> bool:
    """Tell by the names of files whether a path is a scan or holds one; DICOM files may have no suffix."""
    if path.is_file():
        return path.name.lower().endswith(_SUFFIXES)
    from vertebra.tasks.medical.dicom_file import is_dicom_file

    for folder, _, names in walk(path):
        for name in names:
            file = os.path.join(folder, name)
            if name.lower().endswith(_SUFFIXES) or (
                not Path(name).suffix.strip(".0123456789") and os.path.isfile(file) and is_dicom_file(file)
            ):
                return True
    return False


def _read(root: Path, source: str, first: tuple[Path, str], title: str, options: argparse.Namespace) -> Content:
    columns = Columns(labels=options.labels or ["label"], patient=options.patient, study=options.study)

    def read(place: tuple[Path, str], names: tuple[str, ...] | None) -> tuple[Studies, list[Fault]]:
        return read_studies(*place, _kind(*place, columns), columns, names)

    names = None if (root, source) == first else read(first, None)[0].class_names
    studies, faults = read((root, source), names)
    return _content(studies, title, faults, has_labels=True)


def _read_unlabeled(path: Path) -> Content:
    return _content(unlabeled_studies(find_scans([path]), (), "classes", False), str(path), [], has_labels=False)


def _content(studies: Studies, title: str, faults: Iterable[Fault], has_labels: bool) -> Content:
    check = StudyCheck(studies, title, has_labels)
    counts = dict(zip(studies.class_names, class_counts(studies).tolist(), strict=True))
    unit = "findings" if studies.are_findings else "labels"
    return Content(
        files=studies.names.tolist(),
        told=partial(counted, unit, counts) if has_labels else (lambda: "without labels"),
        faults=list(faults),
        check_files=check.faults,
        things="studies",
        comparable=check,
    )


def _kind(root: Path, source: str, columns: Columns) -> Kind:
    if root.suffix.lower() == ".npz":
        try:
            header = read_headers(root).get(f"{source}_labels")
        except ValueError:
            return "classes"
        return "findings" if header is not None and header.shape[1:] and header.shape[1] > 1 else "classes"
    return "findings" if len(columns.labels) > 1 or find_entries(root / source) else "classes"

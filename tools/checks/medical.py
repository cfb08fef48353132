"""Report on data sets of studies and of scans without labels."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.loading.formats import Source, read_source
from vertebra.tasks.medical import formats
from vertebra.tasks.medical.balance import class_counts
from vertebra.tasks.medical.check import StudyCheck
from vertebra.tasks.medical.formats.study_options import Columns, StudyOptions
from vertebra.tasks.medical.studies import Studies
from vertebra.tools.checks.group_columns import column_summary, group_column
from vertebra.tools.checks.source import Content, Split, counted, sources_at


def find_studies(path: Path, flags: argparse.Namespace) -> list[Split]:
    """List the splits of labeled studies at a path; the first of all paths defines the classes."""
    options = StudyOptions(
        columns=Columns(labels=flags.labels or ["label"], patient=flags.patient, study=flags.study),
        # columns of patients and studies are of scans, whatever the endings of the files
        are_columns_given=bool(flags.patient or flags.study or flags.labels),
    )
    find = partial(sources_at, formats.FORMATS, flags=flags, options=options)
    sources = [source for given in flags.paths for source in find(given)]
    first = sources[0] if sources else None
    if flags.patient is None and (column := group_column(sources, options.columns.labels[0])):
        options = replace(options, columns=replace(options.columns, patient=column.name))
    return [Split(source, source.title, partial(_read, source, first, options)) for source in find(path)]


def find_unlabeled_scans(path: Path, flags: argparse.Namespace) -> list[Split]:
    """List the scans without labels at a path, those of train, val and test apart."""
    sources = sources_at(formats.UNLABELED, path, flags, StudyOptions())
    return [Split(source, source.title, partial(_read_unlabeled, source)) for source in sources]


def _read(source: Source, first: Source | None, options: StudyOptions) -> Content:
    read = partial(read_source, formats.FORMATS, options=options)
    class_names = None if first is None or source == first else read(first)[0].class_names
    studies, faults = read(source, class_names=class_names)
    return _content(studies, source.title, faults, True, options.columns.patient)


def _read_unlabeled(source: Source) -> Content:
    studies, faults = read_source(formats.UNLABELED, source, StudyOptions())
    return _content(studies, source.title, faults, has_labels=False)


def _content(
    studies: Studies, title: str, faults: Iterable[Fault], has_labels: bool, patient: str | None = None
) -> Content:
    check = StudyCheck(studies, title, has_labels)
    counts = dict(zip(studies.class_names, class_counts(studies).tolist(), strict=True))
    unit = "findings" if studies.are_findings else "labels"
    return Content(
        files=studies.names.tolist(),
        summary=partial(counted, unit, counts, column_summary(patient, studies.patients))
        if has_labels
        else (lambda: "without labels"),
        faults=list(faults),
        check_files=check.faults,
        things="studies",
        comparable=check,  # the same pixels may be in files of other bytes
    )

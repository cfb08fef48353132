"""Findings of an analysis: figures, table and numbers, written as SVG, PNG, CSV, JSON and a page."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from vertebra.tasks.reporting.plots import Plot
from vertebra.tasks.reporting.report import Section, note, write_report
from vertebra.tasks.reporting.tables import Table, json_value

WEIGHT_LOOKS = {"trained": 0, "untrained": 1}  # of lines, see `charts.Line`
NEW_STAGE = "a stage begins"  # name of the marks of panels by depth


class Findings(NamedTuple):
    """What an analysis found.

    Attributes:
        title: of the page, such as `Signal propagation of resnet56`.
        setting: what was examined and how, a name to plain text: network, samples, seed.
        headline: name to value, the most important first.
        sentences: what was found, in plain text; also printed.
        plots: the figures.
        table: the numbers behind the figures, a row for each point; the CSV.
        summary: a smaller table for the page in place of `table`; None shows that.
        caveat: what one may and may not conclude, plain text.
        further: more tables by a word for the name of their CSV, `WHAT_<word>.csv`.
    """

    title: str
    setting: Mapping[str, str]
    headline: Mapping[str, float]
    sentences: Sequence[str]
    plots: Sequence[Plot]
    table: Table
    summary: Table | None
    caveat: str
    further: Mapping[str, Table] = MappingProxyType({})


def write_findings(folder: Path, what: str, findings: Findings, command: str = "vertebra analyze") -> list[Path]:
    """Write `WHAT.html`, `WHAT.csv`, `WHAT.json` and the figures as SVG and PNG.

    Args:
        folder: created if missing.
        what: name of the analysis.
        findings: of the analysis.
        command: that has analyses of this kind.

    Returns:
        The files, the page first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    page, table, numbers = (folder / f"{what}.{suffix}" for suffix in ("html", "csv", "json"))
    pictures = [file for plot in findings.plots for file in plot.save(folder)]
    tables = {table: findings.table}
    tables |= {folder / f"{what}_{word}.csv": further for word, further in findings.further.items()}
    for file, content in tables.items():
        _write_csv(file, content)
    shown = findings.summary or findings.table
    record = {
        "analysis": what,
        "title": findings.title,
        "setting": dict(findings.setting),
        "headline": {name: json_value(value) for name, value in findings.headline.items()},
        "sentences": list(findings.sentences),
        "summary": shown.records(),
    }
    numbers.write_text(json.dumps(record, indent=1, ensure_ascii=False), encoding="utf-8")
    sentences = "".join(f"<p>{escape(sentence)}</p>" for sentence in findings.sentences)
    sections = [
        Section("Findings", sentences, note(findings.caveat)),
        Section("Figures", *(plot.html() for plot in findings.plots)),
        *(Section(part.title, part) for part in (shown, *findings.further.values())),
    ]
    subtitle = f"{command} {what}"
    write_report(page, findings.title, subtitle, findings.headline, sections, findings.setting)
    return [page, *tables, numbers, *pictures]


def _write_csv(file: Path, table: Table) -> None:
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(table.header)
        writer.writerows([[_cell(value) for value in row] for row in table.rows])


def _cell(value: Any) -> Any:
    return float(value) if isinstance(value, np.floating) else value

"""Table of benchmark results: Markdown, JSON and plot."""

from __future__ import annotations

import json
import platform
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from vertebra.tools.benchmarks.timing import Spread, speedups, time_interleaved

SPEEDUP = "speedup"  # last word of the columns that are plotted; 1.0 is the speed of the reference


@dataclass
class Table:
    """Measurements of all contenders of one benchmark, with the conditions they were taken under.

    Attributes:
        title: the measured workload.
        columns: column titles with units; those that end in `SPEEDUP` are plotted.
        packages: packages whose versions are recorded.
        rounds: number of measured rounds.
        device: description of the device; by default the GPU or the CPU with its number of threads.
        rows: name of the contender -> one cell per column, a spread or a single number.
        notes: footnotes.
    """

    title: str
    columns: Sequence[str]
    packages: Sequence[str]
    rounds: int
    device: str = ""
    rows: dict[str, Sequence[Spread | float]] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        # recorded at creation, when the threads are set as in the measurement
        self.device = self.device or device_name()
        self.versions = {name: _version(name) for name in self.packages} | {"Python": platform.python_version()}

    def markdown(self) -> str:
        """Return the table as Markdown, after a line with workload, device and versions."""
        versions = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        lines = [
            f"{self.title}; {self.device}; {versions}; {self.rounds} interleaved rounds, median (minimum to maximum)",
            "",
            f"| | {' | '.join(_headers(self.columns))} |",
            "|---" * (1 + len(self.columns)) + "|",
        ]
        for name, cells in self.rows.items():
            lines.append(f"| {name} | {' | '.join(_text(cell) for cell in cells)} |")
        return "\n".join([*lines, *("\n" + note for note in self.notes)]) + "\n"

    def as_json(self) -> dict[str, Any]:
        """Return the table as objects for `json`."""
        rows = [
            {"name": name} | {column: _json(cell) for column, cell in zip(self.columns, cells, strict=True)}
            for name, cells in self.rows.items()
        ]
        return {
            "title": self.title,
            "device": self.device,
            "versions": self.versions,
            "rounds": self.rounds,
            "rows": rows,
            "notes": list(self.notes),
        }


def compare_throughput(
    title: str,
    implementations: Mapping[str, Callable[[], object]],
    items: tuple[int, str],
    packages: Sequence[str],
    rounds: int,
    device: str = "",
) -> Table:
    """Measure the throughput of several implementations of one operation; speedups are over the first.

    Args:
        title: the measured workload.
        implementations: name -> function that runs it once.
        items: number and name of the items processed by one run, such as 24 and `clips`.
        packages: packages whose versions are recorded.
        rounds: number of measured rounds.
        device: see `Table`.
    """
    number, unit = items
    times = time_interleaved(list(implementations.values()), rounds)
    table = Table(title, (f"{unit}/s", SPEEDUP), packages, rounds, device)
    for name, seconds in zip(implementations, times, strict=True):
        table.rows[name] = (Spread.of([number / s for s in seconds]), speedups(seconds, times[0]))
    return table


def write_results(tables: Sequence[Table], folder: Path) -> Path:
    """Write all tables to `results.json` in a folder and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "results.json"
    file.write_text(json.dumps([table.as_json() for table in tables], indent=2) + "\n")
    return file


def write_picture(tables: Sequence[Table], folder: Path) -> Path:
    """Write the plot of all tables to `results.png` in a folder and return its path."""
    file = folder / "results.png"
    plot(tables).savefig(file, dpi=120)
    return file


def plot(tables: Sequence[Table]) -> Figure:
    """Plot every speedup as a bar from minimum to maximum with a dot at the median; one panel per table."""
    # inches: title and axis label, then 0.34 for each bar
    heights = [1.3 + 0.34 * len(_speedup_columns(table)) * max(1, len(table.rows)) for table in tables]
    figure = Figure(figsize=(10, 0.4 + sum(heights)), layout="constrained")
    panels = figure.subplots(len(tables), 1, squeeze=False, height_ratios=heights)[:, 0]
    for table, axes in zip(tables, panels, strict=True):
        labels: list[str] = []
        for index, column in _speedup_columns(table):
            for name, cells in table.rows.items():
                cell = cells[index]
                if isinstance(cell, Spread):
                    axes.plot([cell.minimum, cell.maximum], [len(labels)] * 2, color="#86b8d8", linewidth=6)
                    axes.plot([cell.median], [len(labels)], "o", color="#0072b2")
                    quantity = column.removesuffix(SPEEDUP).strip()
                    labels.append(textwrap.fill(f"{name}: {quantity}" if quantity else name, 44))
        axes.set_yticks(range(len(labels)), labels, fontsize=8)
        axes.invert_yaxis()  # the first row at the top, as in the table
        axes.axvline(1.0, color="#888888", linewidth=1)  # the reference
        axes.set_xlim(left=0)
        axes.set_title(textwrap.fill(table.title, 64), fontsize=9, loc="left")
        axes.set_xlabel(f"speedup over the reference, on {table.device}", fontsize=8)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    return figure


def _headers(columns: Sequence[str]) -> list[str]:
    """Return short headers: a speedup right after its own time in seconds needs no qualifier, except as a JSON key."""
    pairs = zip(("", *columns), columns, strict=False)
    return [SPEEDUP if before.endswith(", s") and column.endswith(SPEEDUP) else column for before, column in pairs]


def _speedup_columns(table: Table) -> list[tuple[int, str]]:
    return [(index, column) for index, column in enumerate(table.columns) if column.endswith(SPEEDUP)]


def _text(cell: Spread | float) -> str:
    return str(cell) if isinstance(cell, Spread) else f"{cell:.0f}"  # single numbers are MiB and percent


def _json(cell: Spread | float) -> Any:
    return cell._asdict() if isinstance(cell, Spread) else cell


def device_name() -> str:
    """Return the GPU, or the processor and how many threads of it are used."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{torch.get_num_threads()} threads of {_processor()}"


def _processor() -> str:
    # `platform.processor` is empty or just "x86_64" on most Linux distributions
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed)"

"""What a benchmark found: rows of spreads, as Markdown, as JSON and as a plot."""

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

from vertebra.tools.benchmarks.timing import Spread, ratios, time_in_turn

RATIO = ", times"  # ends the name of a column that says how many times as fast, so that 1 is as fast as the other


@dataclass
class Table:
    """Contenders with what was measured of each, and on what.

    Attributes:
        title: what was timed.
        columns: what the cells of a row are, with the unit; those that end in `RATIO` are drawn.
        packages: whose versions count.
        rounds: behind each spread.
        device: that it ran on; what torch computes on by default.
        rows: name of the contender -> a cell a column, a spread or one number.
        notes: sentences below the table.
    """

    title: str
    columns: Sequence[str]
    packages: Sequence[str]
    rounds: int
    device: str = ""
    rows: dict[str, Sequence[Spread | float]] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        self.device = self.device or _device()
        self.versions = {name: _version(name) for name in self.packages} | {"Python": platform.python_version()}

    def markdown(self) -> str:
        """Return the table with a line ahead of it that says what it was measured on."""
        versions = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        lines = [
            f"{self.title}; {self.device}; {versions}; {self.rounds} rounds in turn, median (least to most)",
            "",
            f"| | {' | '.join(self.columns)} |",
            "|---" * (1 + len(self.columns)) + "|",
        ]
        for name, cells in self.rows.items():
            lines.append(f"| {name} | {' | '.join(_text(cell) for cell in cells)} |")
        return "\n".join([*lines, *("\n" + note for note in self.notes)]) + "\n"

    def as_json(self) -> dict[str, Any]:
        """Return the same as objects for `json`."""
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


def table_of_ways(
    title: str,
    ways: Mapping[str, Callable[[], object]],
    counted: tuple[int, str],
    packages: Sequence[str],
    rounds: int,
    device: str = "",
) -> Table:
    """Time ways to do the same; ratios are to the first.

    Args:
        title: what is done.
        ways: name -> does it once.
        counted: how much is done at once, and of what, such as 24 and `clips`.
        packages: whose versions count.
        rounds: that count.
        device: see `Table`.
    """
    number, unit = counted
    times = time_in_turn(list(ways.values()), rounds)
    table = Table(title, (f"{unit}/s", f"speed{RATIO}"), packages, rounds, device)
    for name, taken in zip(ways, times, strict=True):
        table.rows[name] = (Spread.of([number / one for one in taken]), ratios(taken, times[0]))
    return table


def write(tables: Sequence[Table], folder: Path) -> list[Path]:
    """Write `results.json` and `results.png` into a folder, and return the paths of both."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / "results.json", folder / "results.png"]
    files[0].write_text(json.dumps([table.as_json() for table in tables], indent=2) + "\n")
    plot(tables).savefig(files[1], dpi=120)
    return files


def plot(tables: Sequence[Table]) -> Figure:
    """Draw every ratio as a bar from the least to the most with a dot at the median, one panel a table."""
    heights = [1.3 + 0.34 * len(_ratios(table)) * max(1, len(table.rows)) for table in tables]
    figure = Figure(figsize=(10, 0.4 + sum(heights)), layout="constrained")
    panels = figure.subplots(len(tables), 1, squeeze=False, height_ratios=heights)[:, 0]
    for table, axes in zip(tables, panels, strict=True):
        labels: list[str] = []
        for place, column in _ratios(table):
            for name, cells in table.rows.items():
                cell = cells[place]
                if isinstance(cell, Spread):
                    axes.plot([cell.least, cell.most], [len(labels)] * 2, color="#86b8d8", linewidth=6)
                    axes.plot([cell.median], [len(labels)], "o", color="#0072b2")
                    labels.append(textwrap.fill(f"{name}: {column.removesuffix(RATIO)}", 44))
        axes.set_yticks(range(len(labels)), labels, fontsize=8)
        axes.invert_yaxis()
        axes.axvline(1.0, color="#888888", linewidth=1)
        axes.set_xlim(left=0)
        axes.set_title(textwrap.fill(table.title, 64), fontsize=9, loc="left")
        axes.set_xlabel(f"times as fast as the first, on {table.device}", fontsize=8)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    return figure


def _ratios(table: Table) -> list[tuple[int, str]]:
    return [(place, column) for place, column in enumerate(table.columns) if column.endswith(RATIO)]


def _text(cell: Spread | float) -> str:
    return str(cell) if isinstance(cell, Spread) else f"{cell:.0f}"


def _json(cell: Spread | float) -> Any:
    return cell._asdict() if isinstance(cell, Spread) else cell


def _device() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{torch.get_num_threads()} threads of {_processor()}"


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed)"

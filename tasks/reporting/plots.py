"""Figures of an analysis: on a page in its colors, and as SVG and PNG files on white."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullFormatter, NullLocator, StrMethodFormatter

from vertebra.tasks.reporting.charts import INK, STYLE, Line, draw_line, in_page_colors, svg_text

_DPI = 160  # of a PNG
_PANEL = (330, 250)  # width and height of a panel, CSS pixels
_LETTER, _KEY = 6, 56  # widths of a letter of a legend, and of all else in an entry, CSS pixels
_FEW = 8  # values of x up to which each has its tick on a logarithmic axis


class Plot:
    """Figure that is drawn once, for the page and for its files.

    Args:
        name: of its files, without suffix.
        title: heading on the page, plain text.
        draw: draws on an empty figure, in the style of `charts`; `INK` is the color of text there.
        size: width and height in CSS pixels.
    """

    def __init__(self, name: str, title: str, draw: Callable[[Figure], None], size: tuple[float, float]) -> None:
        self.name = name
        self.title = title
        self._draw = draw
        self._size = size

    def html(self) -> str:
        """Return the figure with its title, in the colors of the page."""
        svg = in_page_colors(self._svg, self.title)
        return f'<figure class="chart"><figcaption>{escape(self.title)}</figcaption>{svg}</figure>'

    def save(self, folder: Path) -> list[Path]:
        """Write `<name>.svg` and `<name>.png` to an existing folder, on white, and return their paths."""
        files = [folder / f"{self.name}.{suffix}" for suffix in ("svg", "png")]
        before, opening, body = re.split(r"(<svg[^>]*>)", self._svg, maxsplit=1)
        white = '<rect width="100%" height="100%" fill="white"/>'
        files[0].write_text(f"{before}{opening}{white}{body}", encoding="utf-8")
        with matplotlib.rc_context(STYLE):
            self._figure.savefig(files[1], dpi=_DPI, facecolor="white")
        return files

    @cached_property
    def _svg(self) -> str:
        with matplotlib.rc_context(STYLE):
            return svg_text(self._figure)

    @cached_property
    def _figure(self) -> Figure:
        with matplotlib.rc_context(STYLE):
            # at 72 points per inch a point is a pixel
            figure = Figure(figsize=(self._size[0] / 72, self._size[1] / 72), layout="constrained")
            figure.patch.set_alpha(0)
            self._draw(figure)
            figure.draw_without_rendering()
            figure.set_layout_engine("none")  # which takes longer than the drawing, once is enough
            return figure


class Panel(NamedTuple):
    """One panel of a figure of lines.

    Attributes:
        title: above it.
        lines: in drawing order; lines of one name and look share an entry of the legend.
        x_label: what the x axis measures.
        y_label: what the y axis measures.
        log_y: use a logarithmic y axis; values that are not positive are left out.
        log_x: use a logarithmic x axis.
        marks: x positions of thin vertical lines, such as the transitions between stages.
        marks_name: what they are, for the legend.
    """

    title: str
    lines: Sequence[Line]
    x_label: str
    y_label: str
    log_y: bool = False
    log_x: bool = False
    marks: Sequence[float] = ()
    marks_name: str = ""


def line_plot(name: str, title: str, panels: Sequence[Panel], columns: int = 3, legend: bool = True) -> Plot:
    """Return a figure of panels side by side, with one legend for all.

    Args:
        name: of its files, without suffix.
        title: heading.
        panels: row by row.
        columns: panels in a row at most.
        legend: whether the lines are named; those of panels of one line are by the titles.
    """
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)

    def draw(figure: Figure) -> None:
        grid = figure.subplots(rows, columns, squeeze=False).flatten()
        for axes, panel in zip(grid, panels, strict=False):
            draw_panel(axes, panel)
        for axes in grid[len(panels) :]:
            axes.set_visible(False)
        if legend:
            draw_legend(figure, grid)

    return Plot(name, title, draw, (columns * _PANEL[0], rows * _PANEL[1] + 26))


def draw_legend(figure: Figure, grid: Iterable[Axes]) -> None:
    """Draw one legend under all axes, an entry for each name in even rows; none for a single name."""
    entries: dict[str, Any] = {}
    for axes in grid:
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(name, handle)
    if len(entries) < 2:
        return
    longest = _LETTER * max(map(len, entries)) + _KEY
    rows = -(-len(entries) // max(1, int(72 * figure.get_figwidth() // longest)))
    figure.legend(
        entries.values(),
        entries.keys(),
        loc="outside lower left",
        ncols=-(-len(entries) // rows),
        frameon=False,
        fontsize=10,
    )


def draw_panel(axes: Axes, panel: Panel) -> None:
    """Draw lines, marks and labels of a panel on axes."""
    axes.patch.set_alpha(0)
    axes.grid(linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    for line in panel.lines:
        y = np.asarray(line.y, dtype=float)
        draw_line(axes, line._replace(y=np.where(y > 0, y, np.nan) if panel.log_y else y))
    for mark in panel.marks:
        name = panel.marks_name or None
        axes.axvline(mark, color=INK, linewidth=0.8, linestyle="dotted", zorder=1.5, label=name)
    axes.set(xlabel=panel.x_label, ylabel=panel.y_label)
    axes.set_title(panel.title, fontsize=11, loc="left")
    if panel.log_y and any((np.asarray(line.y, dtype=float) > 0).any() for line in panel.lines):
        axes.set_yscale("log")
        _label_powers(axes.yaxis)
    else:
        axes.ticklabel_format(axis="y", useOffset=False)  # an offset above the axis is easily overlooked
        _widen(axes)
    if panel.log_x:
        axes.set_xscale("log")
        _label_powers(axes.xaxis)
        values = sorted({float(x) for line in panel.lines for x in line.x})
        if len(values) <= _FEW:  # such as 1, 2, 4 and 8
            axes.xaxis.set_major_locator(FixedLocator(values))
            axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def _widen(axes: Axes) -> None:
    """Draw values that differ by less than a thousandth as a flat line, not as rounding errors over a whole panel."""
    low, high = axes.get_ylim()
    largest = max(abs(low), abs(high))
    if high - low < 1e-3 * largest:
        axes.set_ylim(low - 0.01 * largest, high + 0.01 * largest)


def _label_powers(axis: Axis) -> None:
    low, high = axis.get_view_interval()
    if high < 10 * low:
        axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        axis.set_minor_locator(NullLocator())
    elif high < 300 * low:  # powers of ten alone would leave two labels
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())

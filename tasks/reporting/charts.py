"""Charts as inline SVG in HTML fragments; colors follow the light or dark theme of the page."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

# Okabe and Ito's color-blind-safe palette without black and yellow, which vanish on a dark and on a light page
PALETTE = ((0, 114, 178), (230, 159, 0), (0, 158, 115), (213, 94, 0), (204, 121, 167), (86, 180, 233))
_DASHES = ("solid", "dashed", "dotted")
NUM_LOOKS = len(PALETTE) * len(_DASHES)
_NO_POINTS = np.zeros(0)

# of text and of lines in files; in the SVG text of a page they are replaced by its own colors
INK, FAINT = "#010203", "#d3d7da"
PAGE_COLORS = {INK: "currentColor", FAINT: "var(--line)"}
STYLE: dict[Any, Any] = {  # not all releases of matplotlib type the names of settings
    "svg.fonttype": "none",  # text stays text: it uses the font of the page and can be searched
    "svg.hashsalt": "vertebra",  # equal numbers give equal files
    "font.size": 11,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.edgecolor": FAINT,
    "grid.color": FAINT,
    "axes.unicode_minus": False,
    "text.parse_math": False,  # a class may be called "$"
}


class Line(NamedTuple):
    """One line of a line chart.

    Attributes:
        name: legend entry.
        x: (N,) x values.
        y: (N,) y values; NaN leaves a gap.
        look: index of its color and dash style, in 0..NUM_LOOKS - 1; None draws it bold in the text color.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    look: int | None


def class_color(label: int) -> tuple[int, int, int]:
    """Return the color of class `label` in 1..K as 8-bit RGB; colors repeat after 18 classes."""
    shade, index = divmod((label - 1) % (3 * len(PALETTE)), len(PALETTE))
    red, green, blue = ((c, 0.55 * c, c + 0.55 * (255 - c))[shade] for c in PALETTE[index])
    return round(red), round(green), round(blue)


def line_chart(
    lines: Sequence[Line],
    title: str,
    x_label: str,
    y_label: str,
    log_y: bool = False,
    x_limits: tuple[float, float] | None = None,
    y_limits: tuple[float, float] | None = None,
) -> str:
    """Return a line chart with its legend as HTML.

    Args:
        lines: in drawing order.
        title: heading of the chart.
        x_label: what the x axis measures.
        y_label: what the y axis measures.
        log_y: use a logarithmic y axis; every y must be positive.
        x_limits: limits of the x axis; None fits the data.
        y_limits: limits of the y axis; None fits the data.
    """
    with matplotlib.rc_context(STYLE):
        figure, axes = _figure(380, 250)
        axes.grid(linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        if log_y:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=9))
            axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axes.yaxis.set_minor_formatter(NullFormatter())
        for line in lines:
            draw_line(axes, line)
        axes.set(xlabel=x_label, ylabel=y_label, xlim=x_limits, ylim=y_limits)
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        if not log_y:
            axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
        heading = f"<figcaption>{escape(title)}</figcaption>"
        return f'<figure class="chart">{heading}{inline_svg(_fill(figure), title)}{_legend(lines)}</figure>'


def draw_line(axes: Axes, line: Line) -> None:
    """Draw a line on axes; the points of a short series are marked, and a single point has no line at all."""
    color = INK if line.look is None else hex_color(PALETTE[line.look % len(PALETTE)])
    marker = "o" if len(line.x) <= 20 else ""
    style = "solid" if line.look is None else _DASHES[line.look // len(PALETTE)]
    width = 2.4 if line.look is None else 1.7
    axes.plot(
        line.x, line.y, color=color, linestyle=style, linewidth=width, marker=marker, markersize=3.5, label=line.name
    )


def bar_chart(names: Sequence[str], bars: Mapping[str, Sequence[float]], title: str, x_label: str, y_label: str) -> str:
    """Return a chart of horizontal bars with its legend as HTML.

    Args:
        names: the N categories, from top to bottom.
        bars: legend entry -> N lengths, 0 or more.
        title: heading of the chart.
        x_label: what the length of a bar measures.
        y_label: what the categories are.
    """
    height = max(9, 22 // len(bars))  # of a bar, pixels
    with matplotlib.rc_context(STYLE):
        figure, axes = _figure(380, 60 + len(names) * (len(bars) * height + 8))
        axes.grid(axis="x", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "bottom"]].set_visible(False)
        places, step = np.arange(len(names)), 0.8 / len(bars)
        for i, lengths in enumerate(bars.values()):
            offset = (i - (len(bars) - 1) / 2) * step
            axes.barh(places + offset, np.asarray(lengths), height=0.9 * step, color=hex_color(PALETTE[i]), linewidth=0)
        axes.set(xlabel=x_label, ylabel=y_label, ylim=(len(names) - 0.5, -0.5))
        axes.set_yticks(places, [_short(name) for name in names])
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        heading = f"<figcaption>{escape(title)}</figcaption>"
        legend = _legend([Line(name, _NO_POINTS, _NO_POINTS, i) for i, name in enumerate(bars)])
        return f'<figure class="chart">{heading}{inline_svg(_fill(figure), title)}{legend}</figure>'


def confusion_chart(
    matrix: np.ndarray, row_names: Sequence[str], column_names: Sequence[str], background_row: bool = False
) -> str:
    """Return a confusion matrix as HTML, colored by row-normalized counts, with counts where they fit.

    Args:
        matrix: (R, C) counts; rows are the truth, columns the prediction.
        row_names: the R true classes.
        column_names: the C predicted classes.
        background_row: whether the last row counts predictions on no object. It is no class whose samples are
            divided among the columns: its cells are fractions of their column, else it would be the darkest row.
    """
    num_rows, num_columns = matrix.shape
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    if background_row:
        shares[-1] = matrix[-1] / np.maximum(matrix.sum(axis=0), 1)
    cell, font = (64, 11) if num_columns <= 8 else (44, 10) if num_columns <= 16 else (13, 8)
    margin = 30 + 0.6 * font * max(len(_short(name)) for name in (*row_names, *column_names))
    with matplotlib.rc_context({**STYLE, "font.size": font}):
        figure, axes = _figure(num_columns * cell + margin, num_rows * cell * 0.8 + margin)
        for (row, column), share in np.ndenumerate(shares):
            if matrix[row, column]:
                _draw_cell(axes, row, column, int(matrix[row, column]), float(share), written=cell > 40)
        axes.set(xlim=(-0.5, num_columns - 0.5), ylim=(num_rows - 0.5, -0.5), xlabel="predicted", ylabel="true")
        vertical = num_columns > 16 or max(len(_short(name)) for name in column_names) * 0.6 * font > cell
        names = [_short(name) for name in column_names]
        axes.set_xticks(range(num_columns), names, rotation=90 if vertical else 0)
        axes.set_yticks(range(num_rows), [_short(name) for name in row_names])
        axes.tick_params(length=0)
        for edge in range(1, max(num_rows, num_columns)):
            axes.axhline(edge - 0.5, color=FAINT, linewidth=0.6, visible=edge < num_rows)
            axes.axvline(edge - 0.5, color=FAINT, linewidth=0.6, visible=edge < num_columns)
        if background_row:
            axes.axhline(num_rows - 1.5, color=INK, linewidth=1.2)
        return f'<figure class="chart matrix">{inline_svg(_fill(figure), "confusion matrix")}</figure>'


def _draw_cell(axes: Axes, row: int, column: int, count: int, share: float, written: bool) -> None:
    # opacity, not lightness: an empty cell shows the page, light or dark; rare counts stay visible
    color = (*(c / 255 for c in PALETTE[0]), max(share, 0.06 if written else 0.25))
    axes.fill_between([column - 0.5, column + 0.5], row - 0.5, row + 0.5, color=color, linewidth=0)
    if written:
        ink = "#ffffff" if share > 0.55 else INK
        axes.text(column, row - 0.02, f"{count:,}", ha="center", va="bottom", color=ink)
        axes.text(column, row + 0.08, f"{share:.0%}", ha="center", va="top", color=ink, alpha=0.75)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    """Return an empty figure of a size in CSS pixels; at 72 points per inch a point is a pixel."""
    figure = Figure(figsize=(width / 72, height / 72))
    figure.patch.set_alpha(0)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    return figure, axes


def _fill(figure: Figure, pad: float = 3) -> Figure:
    """Move the edges of the only axes until their labels end `pad` pixels inside the figure.

    The constrained layout of matplotlib does the same in several passes, which take as long as the drawing. One pass is
    enough where the tick locators have a fixed number of ticks, so that labels do not change with the size of the axes.
    """
    (axes,) = figure.axes
    inside, drawn = axes.get_window_extent(), axes.get_tightbbox()
    assert drawn is not None  # of visible axes
    dots = figure.dpi / 72
    width, height = figure.get_size_inches() * figure.dpi
    left, bottom = inside.x0 - drawn.x0 + pad * dots, inside.y0 - drawn.y0 + pad * dots
    right, top = drawn.x1 - inside.x1 + pad * dots, drawn.y1 - inside.y1 + pad * dots
    axes.set_position((left / width, bottom / height, 1 - (left + right) / width, 1 - (bottom + top) / height))
    return figure


def inline_svg(figure: Figure, label: str) -> str:
    """Return a figure drawn in `STYLE` as an SVG element in the colors of the page, described by `label`."""
    return in_page_colors(svg_text(figure), label)


def svg_text(figure: Figure) -> str:
    """Return a figure as the text of an SVG file that holds no date and no version."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    return file.getvalue()


def in_page_colors(svg: str, label: str) -> str:
    """Return the text of an SVG file as an element of a page, in its colors and described by `label`."""
    opening, _, body = svg.partition("<svg")[2].partition(">")
    width, height = (float(size) for size in re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', opening)[0])
    for placeholder, color in PAGE_COLORS.items():
        body = body.replace(placeholder, color)
    # matplotlib numbers ids from 1 in every figure; without a prefix, charts on one page would share them
    prefix = "c" + hashlib.sha256(body.encode()).hexdigest()[:8]
    body = re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{prefix}-", body)
    start = f'<svg role="img" aria-label="{escape(label)}" viewBox="0 0 {width:.0f} {height:.0f}"'
    return f'{start} style="width: {width:.0f}px">{body}'


def color_legend(names: Sequence[str], colors: Sequence[Sequence[int]]) -> str:
    """Return a legend of filled areas, names with 8-bit RGB colors, as HTML."""
    keys = [
        f'<li><i style="border-top: 0.8rem solid {hex_color(color)}"></i>{escape(name)}</li>'
        for name, color in zip(names, colors, strict=True)
    ]
    return f'<ul class="legend">{"".join(keys)}</ul>'


def _legend(lines: Sequence[Line]) -> str:
    # in HTML, not in the SVG: it wraps on a narrow page and fits long class names
    keys = []
    for line in lines:
        color = "var(--ink)" if line.look is None else hex_color(PALETTE[line.look % len(PALETTE)])
        style = "solid" if line.look is None else _DASHES[line.look // len(PALETTE)]
        keys.append(f'<li><i style="border-top: 3px {style} {color}"></i>{escape(line.name)}</li>')
    return f'<ul class="legend">{"".join(keys)}</ul>'


def hex_color(color: Sequence[int]) -> str:
    """Return an 8-bit RGB color as in CSS."""
    return "#{:02x}{:02x}{:02x}".format(*color)


def _short(name: str) -> str:
    return name if len(name) <= 18 else f"{name[:17]}…"

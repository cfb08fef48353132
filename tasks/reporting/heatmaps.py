"""Figures of matrices as colored cells, such as a similarity of every pair of layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vertebra.tasks.reporting.charts import INK
from vertebra.tasks.reporting.plots import Plot

_COLORS = "viridis"  # perceptually uniform, and readable without color vision
_WRITTEN = 10  # rows and columns up to which each cell has its number
_NAMED = 40  # rows and columns up to which each has its name
_LETTER = 0.6  # width of a letter, in font sizes
_FILLED = 0.8  # part of a panel's width that its cells fill


class Heatmap(NamedTuple):
    """One matrix of a figure.

    Attributes:
        title: above it.
        values: (R, C); NaN leaves a cell empty.
        rows: names of the R rows, from top to bottom.
        columns: names of the C columns.
        y_label: what the rows are.
        x_label: what the columns are.
    """

    title: str
    values: np.ndarray
    rows: Sequence[str]
    columns: Sequence[str]
    y_label: str
    x_label: str


def heatmap_plot(
    name: str,
    title: str,
    maps: Sequence[Heatmap],
    limits: tuple[float, float] | None = None,
    columns: int = 3,
    panel: tuple[float, float] = (330, 290),
) -> Plot:
    """Return a figure of matrices side by side in one color scale.

    Args:
        name: of its files, without suffix.
        title: heading.
        maps: row by row.
        limits: values of the ends of the color scale; None for zero and the largest value of all matrices.
        columns: matrices in a row at most.
        panel: width and height of a matrix with its names, CSS pixels.
    """
    columns = min(columns, len(maps))
    rows = -(-len(maps) // columns)
    low, high = limits or (0, max(float(np.nanmax(heatmap.values)) for heatmap in maps))

    def draw(figure: Figure) -> None:
        grid = figure.subplots(rows, columns, squeeze=False).flatten()
        for axes, heatmap in zip(grid, maps, strict=False):
            _draw(axes, heatmap, (low, high), _FILLED * panel[0] / heatmap.values.shape[1])
        for axes in grid[len(maps) :]:
            axes.set_visible(False)
        scale = figure.colorbar(grid[0].images[0], ax=list(grid), fraction=0.03, pad=0.02)
        scale.outline.set_visible(False)

    return Plot(name, title, draw, (columns * panel[0] + 50, rows * panel[1]))


def _draw(axes: Axes, heatmap: Heatmap, limits: tuple[float, float], width: float) -> None:
    """Draw a matrix whose cells are about `width` CSS pixels wide."""
    values = np.asarray(heatmap.values, dtype=float)
    axes.patch.set_alpha(0)
    axes.imshow(values, cmap=_COLORS, vmin=limits[0], vmax=limits[1], aspect="auto", interpolation="nearest")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_title(heatmap.title, fontsize=11, loc="left")
    axes.set(xlabel=heatmap.x_label, ylabel=heatmap.y_label)
    font = 9.0 if max(values.shape) <= _WRITTEN else 7.0
    upright = 90 if _LETTER * font * max(map(len, heatmap.columns)) > width else 0
    for names, place, rotation in ((heatmap.columns, axes.set_xticks, upright), (heatmap.rows, axes.set_yticks, 0)):
        step = 1 if len(names) <= _NAMED else -(-len(names) // _NAMED)
        place(range(0, len(names), step), names[::step], fontsize=font, rotation=rotation)
    if max(values.shape) <= _WRITTEN:
        middle, digits = sum(limits) / 2, 2 if limits[1] > 0.5 else 3  # of small values two would leave zeros
        font = min(font, width / (_LETTER * (digits + 2.5)))
        for (row, column), value in np.ndenumerate(values):
            if np.isfinite(value):
                color = "#000000" if value > middle else "#ffffff"  # the scale runs from dark to light
                axes.text(column, row, f"{value:.{digits}f}", ha="center", va="center", fontsize=font, color=color)
            else:
                axes.text(column, row, "–", ha="center", va="center", fontsize=font, color=INK)

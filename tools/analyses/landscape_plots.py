"""Figures of a loss landscape: lines, contours, negative curvature, the path of a training, and a surface."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from vertebra.tasks.reporting.charts import INK, Line
from vertebra.tasks.reporting.plots import Panel, Plot, draw_panel
from vertebra.tools.analyses.measures.curvature import Eigenvalues, Plane, nonconvexity
from vertebra.tools.analyses.measures.directions import Trajectory

_LEVELS = 14  # of contours
_LOSSES, _SHARES = "viridis", "magma_r"
_ON_COLORS: Any = {  # white on a shade, which is readable on the dark and on the light end of the colors
    "ha": "center",
    "va": "center",
    "color": "white",
    "fontsize": 9,
    "bbox": {"facecolor": "#000000", "alpha": 0.5, "linewidth": 0, "pad": 1.5},
}


def landscape_plots(
    lines: tuple[np.ndarray, list[np.ndarray]],
    plane: Plane,
    shares: np.ndarray,
    eigenvalues: Sequence[Eigenvalues],
    path: tuple[Trajectory, Plane] | None,
) -> list[Plot]:
    """Return the figures.

    Args:
        lines: (N,) steps, and for each line (N,) losses.
        plane: of two random directions.
        shares: negative share of the curvature at its inner points.
        eigenvalues: of the Hessian, at points of the plane.
        path: of the training, and the plane around it; None if there is none.
    """

    def draw(figure: Figure) -> None:
        grid = figure.subplots(*shape).flatten()
        named = [Line(f"line {i + 1}", lines[0], values, i) for i, values in enumerate(lines[1])]
        spread = max(np.nanmax(line.y) for line in named) / max(min(np.nanmin(line.y) for line in named), 1e-12)
        draw_panel(grid[0], Panel(f"{len(named)} random lines", named, "step", "loss", log_y=bool(spread > 100)))
        grid[0].xaxis.set_major_locator(MaxNLocator(5))
        _contours(figure, grid[1], plane, "Random plane; numbers: |λ min| / λ max")
        for one in eigenvalues:
            ratio = nonconvexity(one.smallest, one.largest)
            inside = 0.86  # of the span, or the numbers of the outer points would be cut
            grid[1].text(inside * one.a, inside * one.b, f"{ratio:.2f}", **_ON_COLORS)
        _share_map(figure, grid[2], plane, shares)
        if path is not None:
            _contours(figure, grid[3], path[1], "Path of the training, principal directions")
            x, y = path[0].coordinates.T
            grid[3].plot(x, y, color="white", marker="o", markersize=3.5, linewidth=1.4)
            grid[3].plot(x[-1], y[-1], color=INK, marker="*", markersize=10)

    def draw_surface(figure: Figure) -> None:
        axes: Any = figure.add_subplot(projection="3d")
        axes.patch.set_alpha(0)
        a, b = np.meshgrid(plane.a, plane.b, indexing="ij")
        heights = np.log10(np.maximum(plane.losses, 1e-12)) if _is_wide(plane.losses) else plane.losses
        axes.plot_surface(a, b, heights, cmap=_LOSSES, linewidth=0.2, edgecolor=INK, rstride=1, cstride=1, alpha=0.95)
        axes.set(xlabel="first direction", ylabel="second direction")
        axes.set_zlabel("log10 loss" if _is_wide(plane.losses) else "loss")
        for one in (axes.xaxis, axes.yaxis, axes.zaxis):
            one.set_pane_color((1, 1, 1, 0))
            one.set_major_locator(MaxNLocator(5))
            one.labelpad = 10  # its own, 4, sets the label on numbers of more than three letters

    shape, size = ((1, 3), (1080, 300)) if path is None else ((2, 2), (760, 600))
    return [
        Plot("landscape", "Loss around the weights", draw, size),
        Plot("landscape_surface", "Loss on the random plane", draw_surface, (560, 460)),
    ]


def _contours(figure: Figure, axes: Axes, plane: Plane, title: str) -> None:
    losses = np.ma.masked_invalid(plane.losses)
    low, high = float(losses.min()), float(losses.max())
    high = high if high > low else low + 1e-9
    wide = _is_wide(plane.losses)
    levels = np.geomspace(low, high, _LEVELS) if wide else np.linspace(low, high, _LEVELS)
    norm = LogNorm(low, high) if wide else Normalize(low, high)
    filled = axes.contourf(plane.a, plane.b, losses.T, levels=levels, norm=norm, cmap=_LOSSES, extend="both")
    axes.contour(plane.a, plane.b, losses.T, levels=levels, colors="white", linewidths=0.4)
    bar = figure.colorbar(filled, ax=axes, ticks=levels[:: _LEVELS // 4], format=FuncFormatter(_loss_text))
    bar.set_label("loss")
    bar.outline.set_visible(False)
    _decorate(axes, title)


def _loss_text(loss: float, place: int | None = None) -> str:
    return f"{loss:,.0f}" if 100 <= loss < 1e6 else f"{loss:.3g}"


def _share_map(figure: Figure, axes: Axes, plane: Plane, shares: np.ndarray) -> None:
    edge = (plane.a[1] - plane.a[0]) / 2
    extent = (plane.a[1] - edge, plane.a[-2] + edge, plane.b[1] - edge, plane.b[-2] + edge)
    image = axes.imshow(shares.T, origin="lower", extent=extent, vmin=0, vmax=1, cmap=_SHARES, aspect="auto")
    bar = figure.colorbar(image, ax=axes)
    bar.set_label("0 convex, 1 concave")
    bar.outline.set_visible(False)
    _decorate(axes, "Negative share of the curvature")


def _decorate(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=11, loc="left")
    axes.set(xlabel="first direction", ylabel="second direction")
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)


def _is_wide(losses: np.ndarray) -> bool:
    """Return whether losses span so much that a linear scale would hide the minimum."""
    finite = losses[np.isfinite(losses)]
    return bool(len(finite) and finite.min() > 0 and finite.max() > 30 * finite.min())

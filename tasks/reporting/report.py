"""Self-contained HTML report of a run, and the building blocks of its sections."""

from __future__ import annotations

import base64
import csv
import io
import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jinja2 import Environment
from PIL import Image

from vertebra.tasks.reporting.charts import NUM_LOOKS, Line, line_chart

_MAX_POINTS = 300  # of a line; more cannot be distinguished and make the page heavy


class Section(NamedTuple):
    """One section of a report.

    Attributes:
        title: plain text.
        html: its body; text from outside must be escaped.
    """

    title: str
    html: str


class Picture(NamedTuple):
    """One picture of a gallery with its caption.

    Attributes:
        image: (H, W, 3) uint8 RGB, or None where it could not be read.
        name: title, such as a file name.
        remark: rest of the caption.
    """

    image: np.ndarray | None
    name: str
    remark: str


def write_report(
    path: Path, title: str, subtitle: str, headline: Mapping[str, float], sections: Sequence[Section]
) -> None:
    """Write a page of headline numbers and sections to `path`, creating its folder if needed.

    Args:
        path: the HTML file.
        title: plain text.
        subtitle: plain text, such as network, data and date.
        headline: name -> value, shown large; the first is the most important.
        sections: in this order.
    """
    template = Environment(autoescape=True).from_string(Path(__file__).with_name("report.html").read_text("utf-8"))
    numbers = [(name, format_number(value)) for name, value in headline.items()]
    page = template.render(title=title, subtitle=subtitle, headline=numbers, sections=sections)
    path.parent.mkdir(parents=True, exist_ok=True)
    # file names need not be UTF-8 and must not prevent the report
    path.write_text(page, encoding="utf-8", errors="backslashreplace")


def format_number(value: float) -> str:
    """Format a count with thousands separators, another number with three decimals, NaN as an en dash."""
    if math.isnan(value):
        return "–"
    if isinstance(value, int | np.integer):
        return f"{value:,}"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:,.1f}"


def note(text: str) -> str:
    """Return an explanatory note as HTML, from plain text."""
    return f'<p class="note">{escape(text)}</p>'


def columns(*parts: str) -> str:
    """Return parts of a section side by side, stacked on a narrow page."""
    return f'<div class="columns">{"".join(f"<div>{part}</div>" for part in parts)}</div>'


def table(header: Sequence[str], rows: Sequence[Sequence[str | float]]) -> str:
    """Return a table with left-aligned text and right-aligned numbers in the form of `format_number`."""

    def cell(value: str | float, tag: str = "td") -> str:
        if isinstance(value, str):
            return f"<{tag}>{escape(value)}</{tag}>"
        return f'<{tag} class="number">{format_number(value)}</{tag}>'

    # headings are aligned like their columns
    is_number = [bool(rows) and not isinstance(value, str) for value in (rows[0] if rows else header)]
    heads = (
        f'<th class="number">{escape(name)}</th>' if number else cell(name, "th")
        for name, number in zip(header, is_number, strict=True)
    )
    body = "".join(f"<tr>{''.join(cell(value) for value in row)}</tr>" for row in rows)
    return f'<div class="table"><table><thead><tr>{"".join(heads)}</tr></thead><tbody>{body}</tbody></table></div>'


def gallery(pictures: Sequence[Picture]) -> str:
    """Return pictures with captions in a grid; a picture that could not be read has a placeholder."""
    figures = []
    for picture in pictures:
        caption = f"<figcaption><b>{escape(picture.name)}</b> {escape(picture.remark)}</figcaption>"
        shown = '<p class="missing">picture not readable</p>'
        if picture.image is not None:
            shown = f'<img alt="{escape(picture.name)}" src="data:image/jpeg;base64,{_jpeg(picture.image)}">'
        figures.append(f"<figure>{shown}{caption}</figure>")
    return f'<div class="gallery">{"".join(figures)}</div>'


def training_section(metrics_csv: Sequence[Path]) -> Section | None:
    """Return the training curves from `metrics.csv` files, or None where nothing was logged.

    Losses are the columns under `train/` and `val/` whose names contain `loss`, learning rates those of Lightning's
    LearningRateMonitor, and the other columns under `val/` are metrics.

    Args:
        metrics_csv: the logs of one run, oldest first; a resumed run may have several.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it has no column `step`.
    """
    logged = _read_columns(metrics_csv)
    losses = [name for name in logged if "loss" in name and name.startswith(("train/", "val/"))]
    rates = [name for name in logged if name.startswith("lr-") and not name.endswith(("-momentum", "-weight_decay"))]
    metrics = [name for name in logged if name.startswith("val/") and name not in losses]
    # scores in 0..1 and, say, distances in millimeters need separate axes
    scores = [name for name in metrics if np.all((logged[name][1] >= 0) & (logged[name][1] <= 1))]
    others = [name for name in metrics if name not in scores]
    charts = []
    for title, names in (("Loss", losses), ("Validation", scores), ("Validation", others), ("Learning rate", rates)):
        if not names:
            continue
        names = sorted(names, key=lambda name: (name.count("/"), len(name)))[:NUM_LOOKS]
        lines = [Line(name, *_thin(*logged[name]), look=i) for i, name in enumerate(names)]
        values = np.concatenate([line.y for line in lines])
        # logarithmic only where the loss falls by orders of magnitude: a linear axis is easier to read
        log_y = title == "Loss" and values.min() > 0 and values.max() > 20 * values.min()
        charts.append(line_chart(lines, title, "step", log_y=log_y))
    if not charts:
        return None
    text = "A validation score that gets worse while the training loss still falls indicates overfitting."
    return Section("Training", columns(*charts) + note(text))


def last_logged(metrics_csv: Sequence[Path], name: str) -> float | None:
    """Return the last value of a column of the files, or None where it was not logged."""
    column = _read_columns(metrics_csv).get(name)
    return None if column is None else float(column[1][-1])


def _read_columns(metrics_csv: Sequence[Path]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return name -> (steps, values), without blank and non-finite cells."""
    rows: list[dict[str, str]] = []
    for file in metrics_csv:
        part = _read_rows(file)
        # a log without training comes from a later evaluation, whose steps start at 0 again
        if any(name.startswith("train/") for row in part[:1] for name in row):
            # steps after the checkpoint that a run was resumed from are repeated in the next log
            first = min(float(row["step"]) for row in part)
            rows = [row for row in rows if float(row["step"]) < first] + part
    columns = {}
    for name in sorted({name for row in rows for name in row} - {"step", "epoch"}):
        points = [(float(row["step"]), float(row[name])) for row in rows if row.get(name)]
        points = sorted(point for point in points if math.isfinite(point[1]))
        if points:
            columns[name] = (np.array([x for x, _ in points]), np.array([y for _, y in points]))
    return columns


def _read_rows(metrics_csv: Path) -> list[dict[str, str]]:
    if not metrics_csv.is_file():
        raise FileNotFoundError(
            f"{metrics_csv} does not exist; expected the metrics.csv of a CSV logger. "
            "Add the logger to the run, or write the report without training curves."
        )
    with metrics_csv.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        names = reader.fieldnames or ()
        if "step" not in names:
            raise ValueError(
                f"{metrics_csv}: its columns are {', '.join(names) or 'none'}, but a metrics.csv has "
                "one named step; give that file."
            )
        return [row for row in reader if row["step"]]


def _thin(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average neighbors until no more than `_MAX_POINTS` points are left."""
    if len(x) <= _MAX_POINTS:
        return x, y
    parts = np.array_split(np.arange(len(x)), _MAX_POINTS)
    return np.array([x[part].mean() for part in parts]), np.array([y[part].mean() for part in parts])


def _jpeg(image: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="JPEG", quality=85, optimize=True)
    return base64.b64encode(file.getvalue()).decode()

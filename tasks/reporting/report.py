"""Self-contained HTML report of a run, and the building blocks of its sections."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jinja2 import Environment
from PIL import Image

from vertebra.tasks.loading.files.whole_file import write_whole
from vertebra.tasks.reporting.tables import Table, format_number, json_value


class Columns(NamedTuple):
    """Parts of a section side by side, stacked on a narrow page."""

    parts: tuple[Any, ...]


Part = str | Table | Columns  # text is HTML, in which text from outside must be escaped


class Section:
    """One section of a report.

    Args:
        title: plain text.
        parts: HTML, tables and columns, from top to bottom.
    """

    def __init__(self, title: str, *parts: Part) -> None:
        self.title = title
        self.parts = parts

    @property
    def html(self) -> str:
        """The body of the section."""
        return "".join(_html(part, self.title) for part in self.parts)

    @property
    def tables(self) -> list[Table]:
        """The tables of the section, also those in columns."""
        return [table for part in self.parts for table in _tables(part)]


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
    path: Path,
    title: str,
    subtitle: str,
    headline: Mapping[str, float],
    sections: Sequence[Section],
    identity: Mapping[str, str] | None = None,
) -> None:
    """Write a page of identity, headline numbers and sections to `path`, creating its folder if needed.

    Args:
        path: the HTML file.
        title: plain text.
        subtitle: plain text, such as what was measured.
        headline: name -> value, shown large; the first is the most important.
        sections: in this order.
        identity: name -> plain text, what the run is: network, data, settings.
    """
    template = Environment(autoescape=True).from_string(Path(__file__).with_name("report.html").read_text("utf-8"))
    numbers = [(name, format_number(value)) for name, value in headline.items()]
    page = template.render(
        title=title, subtitle=subtitle, headline=numbers, sections=sections, identity=dict(identity or {})
    )
    # file names need not be UTF-8 and must not prevent the report
    write_whole(path, page, errors="backslashreplace")


def report_numbers(headline: Mapping[str, float], sections: Sequence[Section]) -> dict[str, Any]:
    """Return the numbers of a report as JSON has them: the headline, and the rows of each table by its title."""
    tables = {table.title: table.records() for section in sections for table in section.tables}
    return {"headline": {name: json_value(value) for name, value in headline.items()}, **tables}


def note(text: str) -> str:
    """Return an explanatory note as HTML, from plain text."""
    return f'<p class="note">{escape(text)}</p>'


def columns(*parts: Part) -> Columns:
    """Return parts of a section side by side, stacked on a narrow page."""
    return Columns(parts)


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


def _html(part: Any, section: str) -> str:
    if isinstance(part, Columns):
        return f'<div class="columns">{"".join(f"<div>{_in_column(one, section)}</div>" for one in part.parts)}</div>'
    return part.html() if isinstance(part, Table) else str(part)


def _in_column(part: Any, section: str) -> str:
    # charts have headings, and so has a table beside them, unless it is that of the section
    heading = f"<h3>{escape(part.title)}</h3>" if isinstance(part, Table) and part.title != section else ""
    return heading + _html(part, section)


def _tables(part: Any) -> list[Table]:
    if isinstance(part, Columns):
        return [table for one in part.parts for table in _tables(one)]
    return [part] if isinstance(part, Table) else []


def _jpeg(image: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="JPEG", quality=85, optimize=True)
    return base64.b64encode(file.getvalue()).decode()

"""Tables of numbers: on a page, in a terminal, and as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any, NamedTuple

import numpy as np

_GAP = "  "  # between the columns of a text


class Table(NamedTuple):
    """Table with a row for each class, metric or setting.

    Attributes:
        title: name of the table in `metrics.json`.
        header: name of each column.
        rows: cells, text or numbers; NaN is an undefined number.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[Any]]

    def html(self) -> str:
        """Return HTML with left-aligned text and right-aligned numbers in the form of `format_number`."""
        # headings are aligned like their columns
        heads = (_html_cell(name, "th", number) for name, number in zip(self.header, self._is_number(), strict=True))
        body = "".join(f"<tr>{''.join(_html_cell(value) for value in row)}</tr>" for row in self.rows)
        return f'<div class="table"><table><thead><tr>{"".join(heads)}</tr></thead><tbody>{body}</tbody></table></div>'

    def text(self, max_rows: int) -> str:
        """Return lines of text in aligned columns; of more than `max_rows` rows the first ones, and how many follow."""
        shown = [[_text_cell(value) for value in row] for row in self.rows[:max_rows]]
        widths = [max(map(len, column)) for column in zip(self.header, *shown, strict=True)]
        lines = [
            _GAP.join(
                cell.rjust(width) if number else cell.ljust(width)
                for cell, width, number in zip(row, widths, self._is_number(), strict=True)
            ).rstrip()
            for row in (self.header, *shown)
        ]
        if more := len(self.rows) - len(shown):
            lines.append(f"... and {more} more")
        return "\n".join(lines)

    def records(self) -> list[dict[str, Any]]:
        """Return a mapping for each row that JSON can hold: an undefined number is None."""
        return [dict(zip(self.header, map(json_value, row), strict=True)) for row in self.rows]

    def _is_number(self) -> list[bool]:
        return [bool(self.rows) and not isinstance(value, str) for value in (self.rows or [self.header])[0]]


def format_number(value: float) -> str:
    """Format a count with thousands separators, another number with three decimals, NaN as an en dash."""
    if math.isnan(value):
        return "–"
    if isinstance(value, int | np.integer):
        return f"{value:,}"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:,.1f}"


def json_value(value: Any) -> Any:
    """Return a number as JSON has it, None for one that is not finite; text as it is."""
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value


def _html_cell(value: Any, tag: str = "td", is_number: bool | None = None) -> str:
    if is_number is None:
        is_number = not isinstance(value, str)
    kind = ' class="number"' if is_number else ""
    return f"<{tag}{kind}>{escape(_text_cell(value))}</{tag}>"


def _text_cell(value: Any) -> str:
    return value if isinstance(value, str) else format_number(value)

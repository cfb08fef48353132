"""Predictions for several samples: a sequence with a picture, a table and files."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

from PIL import Image

from vertebra.tasks.reporting.captions import contact_sheet
from vertebra.tasks.reporting.sample_output import SampleOutput
from vertebra.tasks.training.module import TaskModule

_MAX_SHOWN = 16  # pictures in a contact sheet
_MAX_LISTED = 20  # rows in a notebook


class Predictions(Sequence[SampleOutput]):
    """Predictions of a run, one per sample; a slice is a list.

    Args:
        outputs: as `predict_step` returned them.
        module: that predicted.
        dataset: the samples.
        skipped: one message per file that could not be read.
    """

    def __init__(self, outputs: list[Any], module: TaskModule, dataset: Any, skipped: Sequence[str] = ()) -> None:
        self.samples = module.sample_outputs(outputs, dataset)
        self.class_names = tuple(module.class_names)
        self.skipped = tuple(skipped)
        self._outputs, self._module, self._dataset = outputs, module, dataset

    def __len__(self) -> int:
        return len(self.samples)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        return self.samples[index]

    def plot(self, limit: int = _MAX_SHOWN) -> Image.Image:
        """Return the first `limit` samples with their predictions side by side.

        A notebook shows the picture, `.show()` opens a window, `.save(FILE)` writes it.
        """
        shown = self.samples[:limit]
        return Image.fromarray(contact_sheet([one.picture() for one in shown], [one.name for one in shown]))

    def rows(self) -> list[dict[str, Any]]:
        """Return the table of predictions as one dictionary per row."""
        return [row for one in self.samples for row in one.rows()]

    def to_dataframe(self) -> Any:
        """Return the table of predictions as a pandas DataFrame.

        Raises:
            ImportError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise ImportError(
                "to_dataframe() needs pandas, which is not installed; install it with `pip install pandas`, or use "
                "rows(), which returns the same table as a list of dictionaries."
            ) from error
        return pandas.DataFrame(self.rows())

    def save(self, folder: str | Path = "predictions") -> Path:
        """Write the files of `vertebra predict` to a folder, and return it."""
        self._module.prediction_writer().write(self._outputs, Path(folder), self._dataset)
        return Path(folder)

    def _repr_html_(self) -> str:
        stream = io.BytesIO()
        self.plot().save(stream, "jpeg", quality=75)
        picture = base64.b64encode(stream.getvalue()).decode()
        parts = [f'<img src="data:image/jpeg;base64,{picture}" style="max-width: 100%">', _table(self.rows())]
        if len(self) > _MAX_SHOWN:
            parts.append(f"<p>{_MAX_SHOWN} of {len(self)} samples are shown.</p>")
        if self.skipped:
            first = html.escape(self.skipped[0])
            parts.append(f"<p>{len(self.skipped)} files could not be read; the first: {first}</p>")
        return "\n".join(parts)

    def __repr__(self) -> str:
        lines = [f"{len(self)} prediction{'s' if len(self) != 1 else ''}"]
        lines += [f"  {one.name}: {one.summary()}" for one in self.samples[:_MAX_LISTED]]
        if len(self) > _MAX_LISTED:
            lines.append(f"  and {len(self) - _MAX_LISTED} more")
        return "\n".join(lines)


def _table(rows: Sequence[dict[str, Any]]) -> str:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = ["<table>", f"<tr>{''.join(f'<th>{html.escape(column)}</th>' for column in columns)}</tr>"]
    lines += [f"<tr>{''.join(_cell(row.get(column, '')) for column in columns)}</tr>" for row in rows[:_MAX_LISTED]]
    if len(rows) > _MAX_LISTED:
        lines.append(f'<tr><td colspan="{len(columns)}">and {len(rows) - _MAX_LISTED} more rows</td></tr>')
    return "\n".join([*lines, "</table>"])


def _cell(value: Any) -> str:
    return f"<td>{value:.4g}</td>" if isinstance(value, float) else f"<td>{html.escape(str(value))}</td>"

"""Sections of a generator's report: scores by class, samples and interpolations."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from vertebra.tasks.generation.metrics import GenerationResults
from vertebra.tasks.reporting.captions import captioned
from vertebra.tasks.reporting.report import Part, Section, note
from vertebra.tasks.reporting.tables import Table

_ZOOM = 3  # of generated pixels, by an integer factor
_NOTES = {
    "Samples": "Images of the averaged generator, a row for each class; none was selected.",
    "Interpolation": "From the first noise of a row to the second, along an arc: a generator that has learned its "
    "images by heart jumps from one to the next.",
}


class Sheet(NamedTuple):
    """Generated images in rows.

    Attributes:
        title: of its section.
        names: R names of the rows, empty without classes.
        images: (R, columns, H, W, 3) uint8 RGB.
    """

    title: str
    names: Sequence[str]
    images: np.ndarray


def generation_sections(results: GenerationResults, class_names: Sequence[str]) -> list[Section]:
    """Return the scores, and the share of each class that is classified as such."""
    rows = [[name, value] for name, value in results.headline().items()]
    text = (
        f"As many images were generated as real ones are in the split, with the same classes. The Fréchet distance is "
        f"that of Gaussians on {results.judge}: it is comparable only between runs with these features and this number "
        f"of images ({results.counts.sum():,}), and is not the FID, which is on features of Inception. Spread is that "
        "of generated images within a class, as a fraction of that of real ones: near 0 is mode collapse."
    )
    parts: list[Part] = [Table("scores", ["measure", "value"], rows), note(text)]
    if results.correct is not None:
        columns = zip(class_names, results.counts.tolist(), results.correct.tolist(), strict=True)
        shares = [list(row) for row in columns]
        parts.append(Table("classes", ["class", "images", "classified as asked"], shares))
    return [Section("Generated images", *parts)]


def sheet_sections(sheets: Sequence[Sheet]) -> list[Section]:
    """Return a section with each sheet."""
    sections = []
    for sheet in sheets:
        rows = []
        for name, images in zip(sheet.names, sheet.images, strict=True):
            strip = np.concatenate(list(images), axis=1).repeat(_ZOOM, axis=0).repeat(_ZOOM, axis=1)
            rows.append(captioned(strip, [name]) if name else strip)
        stream = io.BytesIO()
        Image.fromarray(np.concatenate(rows)).save(stream, "png")
        image = base64.b64encode(stream.getvalue()).decode()
        shown = f'<img class="sheet" alt="{sheet.title.lower()}" src="data:image/png;base64,{image}">'
        sections.append(Section(sheet.title, shown, note(_NOTES[sheet.title])))
    return sections

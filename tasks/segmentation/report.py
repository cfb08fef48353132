"""The sections of a segmenter's report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tasks.charts import confusion_chart
from tasks.report import Section, note, table, training_section
from tasks.segmentation.metrics import SegmentationResults


def segmentation_sections(results: SegmentationResults, metrics_csv: Sequence[Path]) -> list[Section]:
    """Return the sections of a report.

    Args:
        results: what `SegmentationMetric.compute` returns.
        metrics_csv: what Lightning's CSVLogger wrote while training, oldest first; empty for no curves.
    """
    training = training_section(metrics_csv)
    confusion = confusion_chart(results.confusion, results.class_names, results.class_names)
    text = "Rows are the truth, columns the prediction, in pixels; the colour is the share of the row."
    return [
        Section("Classes", _classes(results)),
        Section("Confusion", confusion + note(text)),
        *([training] if training else []),
    ]


def _classes(results: SegmentationResults) -> str:
    shares = results.confusion.sum(axis=1) / max(1, results.confusion.sum())
    values = (
        results.class_names,
        shares,
        results.per_class_iou,
        results.per_class_dice,
        results.per_class_accuracy,
        results.boundaries.f1,
    )
    header = ["class", "share of pixels", "IoU", "Dice", "accuracy", "boundary F1"]
    text = "Ignored pixels count nowhere. A dash stands where there was nothing to score; means leave such classes out."
    return table(header, list(zip(*values, strict=True))) + note(text)

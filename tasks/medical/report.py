"""The sections of a report on studies: numbers with intervals, curves, calibration, and where errors come from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vertebra.tasks.medical.results import MedicalResults
from vertebra.tasks.medical.slices import explained
from vertebra.tasks.reporting.charts import NUM_LOOKS, Line, confusion_chart, line_chart
from vertebra.tasks.reporting.report import Picture, Section, columns, gallery, note, table, training_section
from vertebra.tasks.scoring.bootstrap import Interval
from vertebra.tasks.scoring.calibration import Reliability

NUM_SHOWN = 4  # false positives, false negatives and hits of a condition in the galleries, each
_LIMITS = (-0.01, 1.01)
_MEASURES = {
    "auroc": "AUROC",
    "micro_auroc": "AUROC, micro",
    "average_precision": "average precision",
    "micro_average_precision": "average precision, micro",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "ppv": "positive predictive value",
    "npv": "negative predictive value",
    "f1": "F1",
    "kappa": "Cohen's kappa",
    "brier": "Brier score",
    "ece": "expected calibration error",
}
_SHORT = {"ppv": "PPV", "npv": "NPV"}  # where a table would be wider than the page
_ENDS = np.array([0.0, 1.0])
_SHOWN = (
    " Of each: what the network saw, and laid over it what speaks for the condition (Grad-CAM); of a volume the slice "
    "where that is strongest."
)
_ERRORS = "False positives with the highest probability and false negatives with the lowest." + _SHOWN
_HITS = "Studies that have the condition, and are called so with the highest probability." + _SHOWN


class Example(NamedTuple):
    """A study that is shown.

    Attributes:
        name: what it is called.
        condition: that it has or is called, in 0..C-1.
        row: of `MedicalResults.studies`.
        image: as the network saw it, (C, H, W), (C, D, H, W), or (I, C, ...).
        cam: what speaks for the condition, in 0..1, as `grad_cam` gives it for one study.
    """

    name: str
    condition: int
    row: int
    image: np.ndarray
    cam: np.ndarray


def medical_sections(
    results: MedicalResults, examined: Sequence[Example], metrics_csv: Sequence[Path]
) -> list[Section]:
    """Return the sections of a report.

    Args:
        results: of a split, at the temperature and the thresholds that are in use.
        examined: studies for the galleries.
        metrics_csv: what Lightning's CSVLogger wrote while training, oldest first; empty for no curves.
    """
    training = training_section(metrics_csv)
    hits = [one for one in examined if _kind(results, one) == "true positive"]
    errors = [one for one in examined if _kind(results, one) != "true positive"]
    return [
        Section("Numbers", _numbers(results)),
        Section("Conditions", _conditions(results)),
        Section("Curves", _curves(results)),
        *([Section("Confusion", _confusion(results))] if results.kind != "findings" else []),
        Section("Calibration", _calibration(results)),
        *([training] if training else []),
        *([Section("Worst errors", _gallery(results, errors, _ERRORS))] if errors else []),
        *([Section("Surest hits", _gallery(results, hits, _HITS))] if hits else []),
    ]


def _numbers(results: MedicalResults) -> str:
    intervals = results.intervals()
    titles = dict(_MEASURES)
    if results.kind == "grades":
        titles["kappa"] = "Cohen's kappa, quadratic"
    if len(results.conditions.classes) < 2:  # of one condition there is nothing to pool
        titles = {name: title for name, title in titles.items() if not name.startswith("micro_")}
    rows = [(title, results.measured[name], str(intervals[name])) for name, title in titles.items()]
    patients, studies = len(np.unique(results.patients)), len(results.patients)
    one_sided = [
        name for name, counts in zip(results.condition_names, results.support.tolist(), strict=True) if 0 in counts
    ]
    caveat = ""
    if one_sided:
        caveat = (
            f"All studies agree on {', '.join(one_sided)}: a number about that is over one of two classes, and says "
            "little. "
        )
    text = (
        f"{caveat}{studies} studies of {patients} patients. Intervals: 95 %, over draws of patients. Of several "
        "conditions a number is the mean over them. A dash marks a number that is undefined, such as the AUROC of a "
        "class that no study has. This is research software and no medical device."
    )
    return table(["measure", "value", "95 % interval"], rows) + note(text)


def _conditions(results: MedicalResults) -> str:
    support = [(with_it, without) for without, with_it in results.support.tolist()]
    thresholds = [(f"{threshold:.3f}",) for threshold in results.thresholds.tolist()]
    text = (
        "A study whose calibrated probability is the threshold or more is called positive. The thresholds were chosen "
        "on the validation split; measured there, sensitivity and specificity are a little better than they will be."
    )
    ranked = _table_of(results, ["with", "without"], support, ["auroc", "average_precision"])
    decided = _table_of(results, ["threshold"], thresholds, ["sensitivity", "specificity", "ppv", "npv"])
    return ranked + decided + note(text)


def _table_of(
    results: MedicalResults, header: Sequence[str], first: Sequence[Sequence[str | float]], measures: Sequence[str]
) -> str:
    """Return a row for each condition: its name, what `first` has for it, and measures with their intervals."""
    intervals = results.intervals()
    rows = [
        (name, *cells, *(_with_interval(results.measured[f"{m}/{name}"], intervals[f"{m}/{name}"]) for m in measures))
        for name, cells in zip(results.condition_names, first, strict=True)
    ]
    return table(["condition", *header, *(_SHORT.get(m, _MEASURES[m]) for m in measures)], rows)


def _with_interval(value: float, interval: Interval) -> str:
    return "–" if np.isnan(value) else f"{value:.3f} ({interval})"


def _curves(results: MedicalResults) -> str:
    named = list(zip(results.condition_names, results.curves, strict=True))[:NUM_LOOKS]
    roc = [Line("chance", _ENDS, _ENDS, look=None)]
    roc += [Line(name, 1 - curve.specificity, curve.sensitivity, look=i) for i, (name, curve) in enumerate(named)]
    pr = [Line(name, curve.sensitivity, curve.precision, look=i) for i, (name, curve) in enumerate(named)]
    return columns(
        line_chart(roc, "Sensitivity", "1 - specificity", x_limits=_LIMITS, y_limits=_LIMITS),
        line_chart(pr, "Precision", "sensitivity (recall)", x_limits=_LIMITS, y_limits=_LIMITS),
    )


def _confusion(results: MedicalResults) -> str:
    names = results.class_names
    text = "Rows are the truth, columns the decision; the color is the share of the row."
    return confusion_chart(results.confusion, names, names) + note(text)


def _calibration(results: MedicalResults) -> str:
    raw = results.at(1.0)
    before, after = raw.reliability, results.reliability
    lines = [Line("as sure as right", _ENDS, _ENDS, look=None)]
    lines += [_reliability_line("as the network says it", before, 1), _reliability_line("calibrated", after, 0)]
    rows = [
        ("as the network says it", 1.0, before.error, raw.measured["brier"]),
        ("calibrated", results.temperature, after.error, results.measured["brier"]),
    ]
    text = (
        "Logits are divided by a temperature that was fitted on the validation split. Below the diagonal it is surer "
        "than it should be, above it less sure; bins of few studies lie anywhere."
    )
    return columns(
        line_chart(lines, "Part that is so", "probability", x_limits=_LIMITS, y_limits=_LIMITS),
        table(["probabilities", "temperature", "calibration error", "Brier score"], rows),
    ) + note(text)


def _reliability_line(name: str, bins: Reliability, look: int) -> Line:
    filled = bins.counts > 0
    return Line(name, bins.confidence[filled], bins.accuracy[filled], look=look)


def _gallery(results: MedicalResults, examined: Sequence[Example], text: str) -> str:
    pictures = []
    for one in examined:
        prob = results.conditions.probs[one.row, one.condition]
        remark = f"{_kind(results, one)} of {results.condition_names[one.condition]}, probability {prob:.3f}"
        pictures.append(Picture(explained(one.image, one.cam), os.path.basename(one.name), remark))
    return gallery(pictures) + note(text)


def _kind(results: MedicalResults, one: Example) -> str:
    if not results.conditions.truth[one.row, one.condition]:
        return "false positive"
    called = results.conditions.probs[one.row, one.condition] >= results.thresholds[one.condition]
    return "true positive" if called else "false negative"

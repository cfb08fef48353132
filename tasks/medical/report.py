"""Report sections of medical classifiers: metrics with intervals, ROC and PR curves, calibration, worst errors."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vertebra.tasks.medical.results import MedicalResults
from vertebra.tasks.medical.slices import overlay
from vertebra.tasks.reporting.captions import labeled_tiles
from vertebra.tasks.reporting.charts import NUM_LOOKS, Line, confusion_chart, line_chart
from vertebra.tasks.reporting.confidence_report import confidence_section
from vertebra.tasks.reporting.report import Part, Picture, Section, columns, gallery, note
from vertebra.tasks.reporting.tables import Table
from vertebra.tasks.scoring.bootstrap import Interval
from vertebra.tasks.scoring.calibration import Reliability
from vertebra.tasks.scoring.confidence import confidence_curves

NUM_SHOWN = 4  # studies per condition in the galleries: of false positives, false negatives and true positives each
_LIMITS = (-0.01, 1.01)  # lines along an edge of 0..1 would be clipped to half their width
_TITLES = {
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
_SHORT = {"ppv": "PPV", "npv": "NPV"}  # in the table with intervals, which is as wide as the page
_ENDS = np.array([0.0, 1.0])  # of the diagonal
_PANELS = (
    " Input of the network, and the same with the Grad-CAM map of the condition; of a volume the slice with the "
    "maximum of the map."
)
_ERRORS = "False positives with the highest probability and false negatives with the lowest." + _PANELS
_TRUE_POSITIVES = "True positives with the highest probability." + _PANELS


class Example(NamedTuple):
    """A study in the galleries.

    Attributes:
        name: name of the study.
        condition: condition that is shown, in 0..C-1.
        row: row of `MedicalResults.studies`.
        image: input of the network, (C, H, W), (C, D, H, W), or (I, C, ...).
        cam: Grad-CAM map of the condition, in 0..1, as `grad_cam` returns it for one study.
    """

    name: str
    condition: int
    row: int
    image: np.ndarray
    cam: np.ndarray


def medical_sections(results: MedicalResults) -> list[Section]:
    """Return the sections of a report on a split, at the temperature and thresholds in use."""
    confidence = _confidence(results)
    return [
        Section("Metrics", *_metrics(results)),
        Section("Conditions", *_conditions(results)),
        Section("Curves", _curves(results)),
        *([confidence] if confidence else []),
        *([Section("Confusion", *_confusion(results))] if results.kind != "findings" else []),
        Section("Calibration", *_calibration(results)),
    ]


def medical_galleries(results: MedicalResults, examples: Sequence[Example]) -> list[Section]:
    """Return the galleries of errors and of true positives.

    Args:
        results: results of a split, at the temperature and thresholds in use.
        examples: studies for the galleries.
    """
    true_positives = [one for one in examples if _outcome(results, one) == "true positive"]
    errors = [one for one in examples if _outcome(results, one) != "true positive"]
    titled = (
        ("Worst errors", errors, _ERRORS),
        ("Most confident true positives", true_positives, _TRUE_POSITIVES),
    )
    return [Section(title, *_gallery(results, some, text)) for title, some, text in titled if some]


def class_table(results: MedicalResults) -> Table:
    """Return the ranking and the decisions for each condition, without intervals."""
    names = ("auroc", "average_precision", "sensitivity", "specificity")
    rows = [
        (name, positives, negatives, *(results.measured[f"{metric}/{name}"] for metric in names))
        for name, (negatives, positives) in zip(results.condition_names, results.support.tolist(), strict=True)
    ]
    return Table("Classes", ["condition", "positives", "negatives", *(_TITLES[name] for name in names)], rows)


def _metrics(results: MedicalResults) -> list[Part]:
    intervals = results.intervals()
    titles = dict(_TITLES)
    if results.kind == "grades":
        titles["kappa"] = "Cohen's kappa, quadratic"
    if results.kind != "findings":  # that of one class is in the table of confidence thresholds
        titles["f1"] = "F1, mean over classes"
    if len(results.conditions.classes) < 2:  # micro and macro averages of one condition are equal
        titles = {name: title for name, title in titles.items() if not name.startswith("micro_")}
    rows = [(title, results.measured[name], str(intervals[name])) for name, title in titles.items()]
    patients, studies = len(np.unique(results.patients)), len(results.patients)
    constant = [
        name for name, counts in zip(results.condition_names, results.support.tolist(), strict=True) if 0 in counts
    ]
    warning = ""
    if constant:
        warning = (
            f"All studies have the same label for {', '.join(constant)}: its metrics cover one of two classes, and are "
            "not meaningful. "
        )
    text = (
        f"{warning}{studies} studies of {patients} patients. 95 % confidence intervals: percentile bootstrap over "
        "patients. With several conditions, metrics are macro averages unless marked micro. A dash marks an undefined "
        "metric, such as the AUROC of a class without studies. This is research software and no medical device."
    )
    return [Table("Metrics", ["metric", "value", "95 % interval"], rows), note(text)]


def _conditions(results: MedicalResults) -> list[Part]:
    support = [(positives, negatives) for negatives, positives in results.support.tolist()]
    thresholds = [(f"{threshold:.3f}",) for threshold in results.thresholds.tolist()]
    text = (
        "A study is predicted positive if its calibrated probability is at or above the threshold. Thresholds were "
        "chosen on the validation split, where sensitivity and specificity are therefore slightly optimistic."
    )
    # two tables: all columns in one would be wider than the page
    ranked = _condition_table("Ranking", results, ["positives", "negatives"], support, ["auroc", "average_precision"])
    decided = _condition_table(
        "Decisions", results, ["threshold"], thresholds, ["sensitivity", "specificity", "ppv", "npv"]
    )
    return [ranked, decided, note(text)]


def _condition_table(
    title: str,
    results: MedicalResults,
    header: Sequence[str],
    first: Sequence[Sequence[str | float]],
    metrics: Sequence[str],
) -> Table:
    """Return a table with a row per condition: its name, the cells of `first`, and metrics with their intervals."""
    intervals = results.intervals()
    rows = [
        (name, *cells, *(_with_interval(results.measured[f"{m}/{name}"], intervals[f"{m}/{name}"]) for m in metrics))
        for name, cells in zip(results.condition_names, first, strict=True)
    ]
    return Table(title, ["condition", *header, *(_SHORT.get(m, _TITLES[m]) for m in metrics)], rows)


def _with_interval(value: float, interval: Interval) -> str:
    return "–" if np.isnan(value) else f"{value:.3f} ({interval})"


def _confidence(results: MedicalResults) -> Section | None:
    truth, probs = results.conditions.truth, results.conditions.probs
    known = ~np.isnan(truth)  # a finding may be unknown
    labels = np.nonzero(known)[1]
    curves = confidence_curves(labels, probs[known], truth[known] == 1, (truth == 1).sum(axis=0))
    counted = "A study counts as predicted for a condition from the threshold on its calibrated probability on."
    return confidence_section(curves, results.condition_names, counted)


def _curves(results: MedicalResults) -> Part:
    named = list(zip(results.condition_names, results.curves, strict=True))[:NUM_LOOKS]
    # the curves of all classes are drawn as long as there are distinct looks
    roc = [Line("chance", _ENDS, _ENDS, look=None)]
    roc += [Line(name, 1 - curve.specificity, curve.sensitivity, look=i) for i, (name, curve) in enumerate(named)]
    pr = [Line(name, curve.sensitivity, curve.precision, look=i) for i, (name, curve) in enumerate(named)]
    return columns(
        line_chart(roc, "ROC curve", "false positive rate", "true positive rate", x_limits=_LIMITS, y_limits=_LIMITS),
        line_chart(pr, "Precision-recall curve", "recall", "precision", x_limits=_LIMITS, y_limits=_LIMITS),
    )


def _confusion(results: MedicalResults) -> list[Part]:
    names = results.class_names
    text = "Rows are true classes, columns predicted ones; color is the fraction of the row."
    return [confusion_chart(results.confusion, names, names), note(text)]


def _calibration(results: MedicalResults) -> list[Part]:
    raw = results.at(1.0)  # the uncalibrated probabilities
    before, after = raw.reliability, results.reliability
    lines = [Line("perfect calibration", _ENDS, _ENDS, look=None)]
    lines += [_reliability_line("uncalibrated", before, 1), _reliability_line("calibrated", after, 0)]
    # of three or more classes the diagram is of the top prediction, see `measures.ScoredPredictions`
    is_multiclass = results.kind != "findings" and len(results.class_names) > 2
    y_label, x_label = ("accuracy", "confidence") if is_multiclass else ("fraction of positives", "mean probability")
    rows = [
        ("uncalibrated", 1.0, before.error, raw.measured["brier"]),
        ("calibrated", results.temperature, after.error, results.measured["brier"]),
    ]
    text = (
        "Logits are divided by a temperature fitted on the validation split. Below the diagonal probabilities are "
        "too high (overconfident), above it too low. Bins with few studies are noisy."
    )
    header = ["probabilities", "temperature", "expected calibration error", "Brier score"]
    diagram = line_chart(lines, "Reliability diagram", x_label, y_label, x_limits=_LIMITS, y_limits=_LIMITS)
    return [columns(diagram, Table("Calibration", header, rows)), note(text)]


def _reliability_line(name: str, bins: Reliability, look: int) -> Line:
    filled = bins.counts > 0  # empty bins are NaN
    return Line(name, bins.confidence[filled], bins.accuracy[filled], look=look)


def _gallery(results: MedicalResults, examples: Sequence[Example], text: str) -> list[Part]:
    pictures = []
    for one in examples:
        prob = results.conditions.probs[one.row, one.condition]
        remark = f"{_outcome(results, one)} of {results.condition_names[one.condition]}, probability {prob:.3f}"
        scan, heat = np.split(overlay(one.image, one.cam), 2, axis=1)
        pictures.append(
            Picture(labeled_tiles({"input": scan, "Grad-CAM": heat}, 2), os.path.basename(one.name), remark)
        )
    return [gallery(pictures), note(text)]


def _outcome(results: MedicalResults, one: Example) -> str:
    if not results.conditions.truth[one.row, one.condition]:
        return "false positive"
    is_positive = results.conditions.probs[one.row, one.condition] >= results.thresholds[one.condition]
    return "true positive" if is_positive else "false negative"

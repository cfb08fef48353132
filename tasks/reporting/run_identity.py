"""Identity of a run at the head of its report, and the sections on how it was trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vertebra.tasks.reporting.charts import bar_chart
from vertebra.tasks.reporting.report import Section, note

_MAX_CLASSES = 30  # in the histogram of labels; more cannot be read
_SPLITS = {"train": "training", "val": "validation", "test": "test"}


def identity(facts: Mapping[str, Any], evaluated: Mapping[str, str]) -> dict[str, str]:
    """Return what a run is, by name and in plain text.

    Args:
        facts: as `run_facts` records them; parts that are unknown may be missing.
        evaluated: entries on the evaluation, such as its split and checkpoint.
    """
    rows: dict[str, str] = {}
    if network := facts.get("network"):
        trainable = network["trainable"]
        fixed = "" if trainable == network["parameters"] else f", {count_in_words(trainable)} of them trainable"
        rows["network"] = f"{network['name']}, {count_in_words(network['parameters'])} parameters{fixed}"
        if network["backbone"]:
            weights = facts.get("weights")
            rows["backbone"] = network["backbone"] + (f", initial weights: {weights}" if weights else "")
    if data := facts.get("data"):
        counts = [_split_in_words(_SPLITS[split], data[split]) for split in _SPLITS if split in data]
        rows["data"] = "; ".join([*filter(None, [data.get("root", "")]), *counts])
    rows |= evaluated
    settings = facts.get("settings", {})
    if settings:
        batches = f"{settings['epochs']} epochs, {settings['steps']:,} steps of {settings['batch size']} samples"
        devices = f" on each of {settings['devices']} devices" if settings["devices"] > 1 else ""
        rows["training"] = batches + devices
        shape = facts.get("input") or []
        rows["input"] = " × ".join(map(str, shape[1:])) + " in the first batch" if shape else ""
        rows |= {name: str(settings[name]) for name in settings if name not in _SHOWN_ELSEWHERE}
    rows["seed"] = str(facts.get("seed", ""))
    rows["time"] = duration(facts["seconds"]) if "seconds" in facts else ""
    rows["hardware"] = str(facts.get("hardware", ""))
    rows["versions"] = ", ".join(f"{name} {number}" for name, number in facts.get("versions", {}).items())
    rows["command"] = str(facts.get("command", ""))
    return {name: text for name, text in rows.items() if text}


_SHOWN_ELSEWHERE = ("epochs", "steps", "batch size", "devices")


def labels_section(counts: Mapping[str, Mapping[str, int]], unit: str) -> Section | None:
    """Return a histogram of labels, or None where there are none.

    Args:
        counts: split -> class -> number of labels; of classes that a split lacks the number is 0.
        unit: plural noun for what has a label, such as `objects`.
    """
    counts = {split: of_split for split, of_split in counts.items() if any(of_split.values())}
    if not counts:
        return None
    names = list(dict.fromkeys(name for of_split in counts.values() for name in of_split))
    text = ""
    if len(names) > _MAX_CLASSES:
        sums = np.array([sum(of_split.get(name, 0) for of_split in counts.values()) for name in names])
        names = [names[i] for i in np.argsort(-sums, kind="stable")[:_MAX_CLASSES]]
        text = f"Drawn are the {_MAX_CLASSES} most frequent of {len(sums)} classes."
    bars = {split: [of_split.get(name, 0) for name in names] for split, of_split in counts.items()}
    chart = bar_chart(names, bars, f"{unit.capitalize()} of each class", f"number of {unit}", "class")
    return Section("Labels", chart, *([note(text)] if text else []))


def count_in_words(number: int) -> str:
    """Return a number of parameters such as `19.5 M`."""
    for size, suffix in ((1e9, " B"), (1e6, " M"), (1e3, " k")):
        if number >= size:
            return f"{number / size:.3g}{suffix}"
    return str(number)


def duration(seconds: float) -> str:
    """Return a duration such as `1 h 02 min` or `12.3 s`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def _split_in_words(name: str, split: Mapping[str, Any]) -> str:
    labels: Sequence[int] = list(split.get("labels", {}).values())
    with_labels = f" with {sum(labels):,} labels" if labels and sum(labels) != split["samples"] else ""
    return f"{split['samples']:,} {name} samples{with_labels}"

"""The report of every task, on tiny runs."""

import json

import pytest

ROWS = ("network", "backbone", "data", "best epoch", "training", "optimizer", "seed", "time", "versions", "command")
TITLES = ("Labels", "Training samples", "Configuration")


@pytest.mark.parametrize("task", ["classification", "detection", "segmentation", "video", "medical"])
def test_every_task_has_the_same_page(task, trained):
    run, _ = trained(task)
    page = (run / "report.html").read_text()
    places = [page.index(f"<h2>{title}</h2>") for title in TITLES]
    assert places == sorted(places)
    for name in (
        "network",
        "backbone",
        "data",
        "best epoch",
        "training",
        "optimizer",
        "seed",
        "time",
        "versions",
        "command",
    ):
        assert f"<dt>{name}</dt>" in page
    numbers = json.loads((run / "metrics.json").read_text())
    assert page.count("<table>") == len(numbers) - 2  # the split and the headline
    assert (run / "training_samples.jpg").stat().st_size > 1000

from types import SimpleNamespace

import pytest

from vertebra.tools.experiment.progress import ThrottledProgressBar


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("vertebra.tools.experiment.progress.time.monotonic", lambda: now[0])
    return now


def test_metrics_are_read_twice_a_second_in_training_and_always_otherwise(clock, monkeypatch):
    reads = []
    monkeypatch.setattr(
        "vertebra.tools.experiment.progress.RichProgressBar.get_metrics",
        lambda bar, trainer, module: reads.append(clock[0]) or {"train/loss": len(reads)},
    )
    bar, trainer = ThrottledProgressBar(), SimpleNamespace(training=True)
    displayed = []
    for clock[0] in (100.0, 100.2, 100.4, 100.6, 101.0, 101.2):
        displayed.append(bar.get_metrics(trainer, None)["train/loss"])
    assert displayed == [1, 1, 1, 2, 2, 3]
    trainer.training = False  # metrics of a validation are read at once
    assert bar.get_metrics(trainer, None) == {"train/loss": 4}
    trainer.training = True
    assert bar.get_metrics(trainer, None) == {"train/loss": 4}

from types import SimpleNamespace

import pytest

from vertebra.tasks.training.curve_points import CurvePoints


@pytest.mark.parametrize(
    ("steps", "given", "expected"),
    [(3, 10, 1), (60, 10, 3), (1000, 10, 10), (1000, 4, 4), (float("inf"), 10, 10)],
)
def test_short_runs_are_logged_more_often(steps, given, expected):
    trainer = SimpleNamespace(estimated_stepping_batches=steps, log_every_n_steps=given)
    CurvePoints().on_train_start(trainer, None)
    assert trainer.log_every_n_steps == expected

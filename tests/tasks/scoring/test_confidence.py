import numpy as np
import pytest

from vertebra.tasks.scoring.confidence import THRESHOLDS, confidence_curves

LABELS = np.array([0, 0, 1, 0, 1])
SCORES = np.array([0.9, 0.6, 0.8, 0.3, 0.5])
CORRECT = np.array([True, False, True, True, True])
NUM_TRUTH = np.array([4, 2, 0])


@pytest.mark.filterwarnings("error")
def test_scores_at_every_threshold_are_those_of_the_predictions_left():
    curves = confidence_curves(LABELS, SCORES, CORRECT, NUM_TRUTH)
    for i, threshold in enumerate(THRESHOLDS):
        for k in range(2):
            kept = (k == LABELS) & (threshold <= SCORES)
            right = (kept & CORRECT).sum()
            if kept.any():
                assert curves.precision[i, k] == right / kept.sum()
            else:
                assert np.isnan(curves.precision[i, k])
            assert curves.recall[i, k] == right / NUM_TRUTH[k]
            assert curves.f1[i, k] == 2 * right / (kept.sum() + NUM_TRUTH[k])


def test_a_class_without_truth_or_predictions_is_undefined():
    curves = confidence_curves(LABELS, SCORES, CORRECT, NUM_TRUTH)
    for values in curves[1:]:
        assert np.isnan(values[:, 2]).all()

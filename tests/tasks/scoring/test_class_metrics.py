import numpy as np
import pytest
import torch

from vertebra.tasks.scoring.calibration import reliability
from vertebra.tasks.scoring.class_metrics import ClassificationMetric


def made_up(number=200, num_classes=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(number, num_classes, generator=generator)
    return logits, torch.randint(num_classes, (number,), generator=generator)


def plain_calibration_error(probs, labels, num_bins):
    """Guo et al. 2017, equation 3, word for word."""
    total = 0.0
    for b in range(num_bins):
        low, high = b / num_bins, (b + 1) / num_bins
        inside = [
            (max(row), float(np.argmax(row) == label))
            for row, label in zip(probs, labels, strict=True)
            if low < max(row) <= high
        ]
        if inside:
            confidence, accuracy = np.mean(inside, axis=0)
            total += len(inside) / len(labels) * abs(accuracy - confidence)
    return total


def test_every_number_is_that_of_a_plain_computation():
    logits, labels = made_up()
    metric = ClassificationMetric([f"class {i}" for i in range(7)])
    for part in torch.arange(200).split(33):
        metric.update(logits[part], labels[part], part)
    results = metric.compute()
    probs, truth = logits.double().softmax(dim=1).numpy(), labels.numpy()
    order = np.argsort(-probs, axis=1)
    assert results.top1 == pytest.approx(np.mean(order[:, 0] == truth))
    assert results.top5 == pytest.approx(np.mean([label in row[:5] for label, row in zip(truth, order, strict=True)]))
    assert results.loss == pytest.approx(-np.log(probs[np.arange(200), truth]).mean())
    assert results.reliability.error == pytest.approx(plain_calibration_error(probs, truth, 15), abs=1e-12)
    confusion = np.zeros((7, 7), int)
    for true, found in zip(truth, order[:, 0], strict=True):
        confusion[true, found] += 1
    assert (results.confusion == confusion).all()
    accuracy = [np.mean(order[truth == k, 0] == k) for k in range(7)]
    np.testing.assert_allclose(results.per_class_accuracy, accuracy)
    assert results.mean_class_accuracy == pytest.approx(np.mean(accuracy))
    np.testing.assert_allclose(results.per_class_precision, [np.mean(truth[order[:, 0] == k] == k) for k in range(7)])


@pytest.mark.parametrize("num_bins", [1, 10, 15])
def test_bins_are_open_below_and_closed_above(num_bins):
    scores = np.arange(num_bins + 1) / num_bins
    bins = reliability(scores, np.ones(len(scores), bool), num_bins)
    assert bins.counts.tolist() == [2] + [1] * (num_bins - 1)  # 0 goes with the first


def test_calibration_of_the_sure_and_of_the_modest():
    assert reliability(np.ones(4), np.array([True, True, True, False])).error == pytest.approx(0.25)
    assert reliability(np.full(4, 0.75), np.array([True, True, True, False])).error == pytest.approx(0)
    assert np.isnan(reliability(np.zeros(0), np.zeros(0, bool)).error)


def test_an_image_that_comes_twice_counts_once_and_order_does_not_matter():
    logits, labels = made_up(10)
    once, twice = (ClassificationMetric(list("abcdefg")) for _ in range(2))
    once.update(logits, labels, torch.arange(10))
    for part in (torch.tensor([7, 8, 9, 0]), torch.tensor([0, 1, 2, 3]), torch.tensor([4, 5, 6])):
        twice.update(logits[part], labels[part], part)
    first, second = once.compute(), twice.compute()
    for a, b in zip(first.images, second.images, strict=True):
        np.testing.assert_array_equal(a, b)
    assert first.headline() == second.headline()
    twice.reset()
    assert np.isnan(twice.compute().top1)


def test_equal_logits_go_to_the_first_classes():
    metric = ClassificationMetric([str(i) for i in range(500)])
    metric.update(torch.zeros(2, 500), torch.tensor([0, 4]), torch.tensor([0, 1]))
    results = metric.compute()
    assert results.images.top_labels.tolist() == [[0, 1, 2, 3, 4]] * 2
    assert (results.top1, results.top5) == (0.5, 1)


def test_few_classes_have_no_top5():
    metric = ClassificationMetric(["a", "b", "c"])
    metric.update(torch.zeros(2, 3), torch.tensor([0, 2]), torch.tensor([0, 1]))
    results = metric.compute()
    assert results.images.top_labels.tolist() == [[0, 1, 2]] * 2
    assert results.top1 == 0.5
    assert results.top5 == 1
    assert "top-5" not in results.headline()
    assert np.isnan(results.per_class_accuracy[1])
    assert results.mean_class_accuracy == 0.5  # of the two classes that have images


def test_labels_and_logits_of_other_classes_are_refused():
    metric = ClassificationMetric(["a", "b"])
    with pytest.raises(ValueError, match=r"gives 3 logits and the labels are 0\.\.0, but there are 2 classes"):
        metric.update(torch.zeros(1, 3), torch.tensor([0]), torch.tensor([0]))
    with pytest.raises(ValueError, match=r"labels are -1\.\.2"):
        metric.update(torch.zeros(2, 2), torch.tensor([-1, 2]), torch.tensor([0, 1]))

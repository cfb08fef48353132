"""Temperature scaling, compared with scikit-learn losses and scipy's optimum."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from sklearn.metrics import log_loss
from torch.nn import functional as F

from vertebra.tasks.medical.temperature import calibrated_probs, fit_temperature, negative_log_likelihood


def sample_classes(number, temperature, classes=3, seed=0):
    """Logits, and labels sampled from their probabilities; then the logits are multiplied by `temperature`."""
    generator = torch.Generator().manual_seed(seed)
    logits = 1.5 * torch.randn(number, classes, generator=generator, dtype=torch.float64)
    labels = torch.multinomial(logits.softmax(dim=1), 1, generator=generator)[:, 0]
    return temperature * logits, labels


def sample_findings(number, temperature, classes=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = 1.5 * torch.randn(number, classes, generator=generator, dtype=torch.float64)
    labels = torch.bernoulli(logits.sigmoid(), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < 0.3] = torch.nan
    return temperature * logits, labels


def nll(logits, labels, temperature=1.0):
    return float(negative_log_likelihood(logits.double() / temperature, labels).nanmean())


def test_losses_equal_scikit_learn_and_ignore_unknown_findings():
    logits, labels = sample_classes(50, 1)
    assert nll(logits, labels) == pytest.approx(log_loss(labels, logits.softmax(dim=1)))
    logits, labels = sample_findings(50, 1)
    known = ~labels.isnan()
    assert (negative_log_likelihood(logits, labels).isnan() == ~known).all()
    assert nll(logits, labels) == pytest.approx(log_loss(labels[known], logits.sigmoid()[known]))


@pytest.mark.parametrize("make", [sample_classes, sample_findings])
@pytest.mark.parametrize("truth", [0.3, 1.0, 2.0, 6.0])
def test_true_temperature_is_recovered(make, truth):
    logits, labels = make(4000, truth)
    assert fit_temperature(logits, labels) == pytest.approx(truth, rel=0.06)


@pytest.mark.parametrize("make", [sample_classes, sample_findings])
@pytest.mark.parametrize("truth", [0.4, 1.0, 3.0])
def test_many_studies_give_the_maximum_likelihood_estimate(make, truth):
    logits, labels = make(1000, truth, seed=1)
    cost = minimize_scalar(lambda u: nll(logits, labels, np.exp(u)), bounds=(-3, 3), method="bounded").x
    assert fit_temperature(logits, labels) == pytest.approx(np.exp(cost), rel=0.01)


@pytest.mark.parametrize("make", [sample_classes, sample_findings])
@pytest.mark.parametrize("number", [1, 2, 3, 7, 200])
@pytest.mark.parametrize("truth", [0.1, 1.0, 50.0])
def test_temperature_is_bounded_and_never_increases_the_loss(make, number, truth):
    for seed in range(5):
        logits, labels = make(number, truth, seed=seed)
        temperature = fit_temperature(logits, labels)
        assert 0.049 < temperature < 20.1
        assert nll(logits, labels, temperature) <= nll(logits, labels)


def test_gradient_of_likelihood_and_prior_is_zero():
    logits, labels = sample_classes(7, 2.0, seed=3)
    u = torch.tensor(np.log(fit_temperature(logits, labels)), requires_grad=True)
    (F.cross_entropy(logits / u.exp(), labels, reduction="sum") + u**2 / 2).backward()
    assert abs(float(u.grad)) < 1e-4


@pytest.mark.parametrize("number", [4, 20, 500])
def test_separable_studies_are_not_overconfident(number):
    labels = torch.arange(number) % 2
    logits = F.one_hot(labels, 2).double() * 2
    temperature = fit_temperature(logits, labels)
    assert 0.2 < temperature < 1
    wrong = calibrated_probs(torch.tensor([[0.0, 2.0]]), True, temperature)[0, 0]
    assert wrong > 1e-5  # 0 by maximum likelihood


def test_few_studies_change_the_temperature_less_than_many():
    labels = torch.arange(4) % 2
    logits = F.one_hot(labels, 2).double() * 2
    moved = [abs(np.log(fit_temperature(logits.repeat(n, 1), labels.repeat(n)))) for n in (1, 5, 25)]
    assert moved == sorted(moved)
    assert moved[0] < 0.6


def test_temperature_is_1_without_labels_or_signal():
    assert fit_temperature(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)) == 1
    assert fit_temperature(torch.randn(3, 2), torch.full((3, 2), torch.nan)) == 1
    assert fit_temperature(torch.zeros(5, 2), torch.ones(5, dtype=torch.int64)) == 1  # constant logits


def test_misleading_logits_give_a_high_temperature():
    logits, labels = sample_classes(200, 2.0, classes=2)
    assert fit_temperature(logits, 1 - labels) > 10


def test_temperature_is_deterministic_in_any_precision():
    logits, labels = sample_classes(100, 2.0)
    assert fit_temperature(logits, labels) == fit_temperature(logits, labels)
    assert fit_temperature(logits.float(), labels) == pytest.approx(fit_temperature(logits, labels), rel=1e-5)


def test_probabilities_equal_torch():
    logits = torch.tensor([[1.0, -2.0], [80.0, -80.0]])
    torch.testing.assert_close(calibrated_probs(logits, True, 2.0), (logits.double() / 2).softmax(dim=1))
    torch.testing.assert_close(calibrated_probs(logits, False, 2.0), (logits.double() / 2).sigmoid())
    assert calibrated_probs(logits, True).dtype == torch.float64


@pytest.mark.parametrize("temperature", [0.3, 1.0, 1.7, 3.1])
def test_ties_are_preserved(temperature):
    logits = torch.randn(50, 2, generator=torch.Generator().manual_seed(0)).bfloat16().double()
    moved = logits + torch.tensor([0.25, 1.0, 5.0])[torch.arange(50) % 3, None]
    assert (calibrated_probs(moved, True, temperature) == calibrated_probs(logits, True, temperature)).all()

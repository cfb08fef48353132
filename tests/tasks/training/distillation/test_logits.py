import pytest
import torch

from vertebra.tasks.training.distillation.logits import LogitDistillation

T = 3.0


def test_the_gradient_is_t_times_the_difference_of_softened_probabilities():
    torch.manual_seed(0)
    student, teacher = torch.randn(5, 4, dtype=torch.double).requires_grad_(), torch.randn(5, 4, dtype=torch.double)
    LogitDistillation(T, weight=2.0)(student, teacher).backward()
    # Hinton et al., equation 2, for the mean over 5 samples, times T^2
    expected = 2.0 * T**2 * ((student / T).softmax(1) - (teacher / T).softmax(1)) / T / 5
    torch.testing.assert_close(student.grad, expected, atol=1e-7, rtol=1e-5)


def test_the_loss_is_that_of_the_formula_and_zero_for_equal_logits():
    student, teacher = torch.tensor([[0.0, 0.0]]), torch.tensor([[T * torch.tensor(3.0).log(), 0.0]])
    # softened: 3/4 and 1/4 against 1/2 and 1/2
    divergence = 0.75 * torch.tensor(1.5).log() + 0.25 * torch.tensor(0.5).log()
    torch.testing.assert_close(LogitDistillation(T)(student, teacher), T**2 * divergence)
    assert LogitDistillation(T)(teacher + 7, teacher).abs() < 1e-6  # a constant changes no probability


def test_findings_have_a_probability_each():
    torch.manual_seed(1)
    student, teacher = torch.randn(3, 2), torch.randn(3, 2)
    total = 0.0
    for s, t in zip(student.flatten().tolist(), teacher.flatten().tolist(), strict=True):
        p, q = (1 / (1 + torch.exp(torch.tensor(-x / T))) for x in (s, t))
        total += q * (q / p).log() + (1 - q) * ((1 - q) / (1 - p)).log()
    torch.testing.assert_close(LogitDistillation(T)(student, teacher, exclusive=False), T**2 * total / 3)


@pytest.mark.parametrize(("options", "message"), [({"temperature": 0.0}, "temperature is 0"), ({"weight": -1}, "-1")])
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        LogitDistillation(**options)

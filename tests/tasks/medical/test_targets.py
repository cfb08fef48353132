import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torchvision.ops import sigmoid_focal_loss

from vertebra.tasks.loading.labeled_files import UNLABELED
from vertebra.tasks.medical.losses import class_balanced
from vertebra.tasks.medical.targets import Classes, Findings, Grades

EXCLUSIVE = [
    Classes(),
    Classes(gamma=2.0),
    Classes(gamma=0.5),
    Classes(weights=[1.0, 2.0, 0.5, 3.0]),
    Grades(),
    Grades(weights=[1.0, 2.0, 0.5, 3.0]),
]
MANY = [
    Findings(),
    Findings(gamma=2.0),
    Findings(gamma=0.5),
    Findings(positive_weights=[1.0, 2.0, 0.5, 3.0]),
    Findings(gamma=2.0, positive_weights=[1.0, 2.0, 0.5, 3.0]),
]


def name(target):
    return f"{type(target).__name__}{'' if target.weight is None else ' weighted'} {getattr(target, 'gamma', '')}"


def drawn(target, number=12):
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(number, 4, generator=generator)
    if target.kind == "findings":
        return logits, torch.randint(2, (number, 4), generator=generator).float()
    return logits, torch.randint(4, (number,), generator=generator)


def unknown(target):
    return torch.nan if target.kind == "findings" else UNLABELED


@pytest.mark.parametrize("target", [*EXCLUSIVE, *MANY], ids=name)
def test_all_unknown_is_a_zero_with_gradients(target):
    logits, labels = drawn(target)
    logits.requires_grad_()
    value = target.loss(logits, torch.full_like(labels, unknown(target)))
    value.backward()
    assert value.item() == 0
    assert logits.grad.abs().sum() == 0  # which NaN is not


@pytest.mark.parametrize("target", [*EXCLUSIVE, *MANY], ids=name)
def test_unknown_labels_are_as_if_they_were_not_there(target):
    logits, labels = drawn(target)
    known = torch.arange(12) % 3 != 0
    if target.kind == "findings":
        hidden = labels.clone()
        hidden[~known] = torch.nan  # whole studies, so that the rest can be asked by itself
    else:
        hidden = torch.where(known, labels, UNLABELED)
    logits.requires_grad_()
    value = target.loss(logits, hidden)
    value.backward()
    torch.testing.assert_close(value, target.loss(logits[known], labels[known]))
    assert logits.grad[~known].abs().sum() == 0
    assert (logits.grad[known].abs().sum(dim=1) > 0).all()


def test_single_findings_of_a_study_may_be_unknown():
    target = Findings()
    logits, labels = drawn(target)
    hidden = labels.clone()
    hidden[torch.arange(12), torch.arange(12) % 4] = torch.nan
    known = ~hidden.isnan()
    expected = F.binary_cross_entropy_with_logits(logits[known], labels[known])
    torch.testing.assert_close(target.loss(logits, hidden), expected)


@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 0.5, 3.0]])
def test_classes_cost_what_torch_says(weights):
    logits, labels = drawn(Classes())
    labels[:3] = UNLABELED
    expected = F.cross_entropy(
        logits, labels, weight=None if weights is None else torch.tensor(weights), ignore_index=UNLABELED
    )
    torch.testing.assert_close(Classes(weights=weights).loss(logits, labels), expected)


@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 0.5, 3.0]])
def test_findings_cost_what_torch_says(weights):
    logits, labels = drawn(Findings())
    positive = None if weights is None else torch.tensor(weights)
    expected = F.binary_cross_entropy_with_logits(logits, labels, pos_weight=positive)
    torch.testing.assert_close(Findings(positive_weights=weights).loss(logits, labels), expected)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_findings_are_torchvisions(gamma):
    logits, labels = drawn(Findings())
    expected = sigmoid_focal_loss(logits, labels, alpha=-1, gamma=gamma, reduction="mean")
    torch.testing.assert_close(Findings(gamma).loss(logits, labels), expected)
    # alpha weighs 0.25 where it is there and 0.75 where not
    weighted = Findings(gamma, positive_weights=[0.25 / 0.75] * 4).loss(logits, labels)
    expected = sigmoid_focal_loss(logits, labels, alpha=0.25, gamma=gamma, reduction="mean")
    torch.testing.assert_close(0.75 * weighted, expected)


def test_focal_classes_are_the_formula():
    logits, labels = drawn(Classes())
    p = logits.softmax(dim=1)[torch.arange(12), labels]
    torch.testing.assert_close(Classes(gamma=2.0).loss(logits, labels), (-((1 - p) ** 2) * p.log()).mean())
    torch.testing.assert_close(Classes(gamma=0.0).loss(logits, labels), -p.log().mean())


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("target", [Classes, Findings])
def test_focal_of_what_is_certain_has_finite_gradients(target, gamma):
    logits = torch.tensor([[200.0, -200.0], [-200.0, 200.0]], requires_grad=True)
    for right in (True, False):
        labels = torch.tensor([0, 1]) if target is Classes else torch.eye(2)
        labels = labels if right else labels.flip(0)
        value = target(gamma=gamma).loss(logits, labels)
        (gradient,) = torch.autograd.grad(value, logits)
        assert gradient.isfinite().all()
        assert value.item() == pytest.approx(0.0 if right else 400.0 if target is Classes else 200.0)


def earth_movers_distance(probs, true):
    """Move probability from grade to grade, one step at a time, and square what goes over each border."""
    cost, carried = 0.0, 0.0
    for grade, prob in enumerate(probs):
        carried += prob - (grade == true)
        cost += carried**2
    return cost


def test_grades_cost_the_squared_earth_movers_distance():
    logits, labels = drawn(Grades())
    probs = logits.double().softmax(dim=1).tolist()
    expected = np.mean([earth_movers_distance(p, true) for p, true in zip(probs, labels.tolist(), strict=True)])
    assert Grades().loss(logits, labels).item() == pytest.approx(expected, rel=1e-5)


def test_a_grade_costs_more_the_farther_it_is_off():
    certain = 100.0 * torch.eye(4)
    costs = [Grades().loss(certain[[grade]], torch.tensor([0])).item() for grade in range(4)]
    assert costs == pytest.approx([0, 1, 2, 3])
    assert len({round(Classes().loss(certain[[grade]], torch.tensor([0])).item()) for grade in (1, 2, 3)}) == 1


def effective_number(count, beta):
    """The paper's recursion: each sample adds what those before do not cover."""
    number = 0.0
    for _ in range(count):
        number = 1 + beta * number
    return number


@pytest.mark.parametrize("beta", [0.0, 0.9, 0.999])
def test_class_balanced_weights_are_the_papers(beta):
    counts = [500, 40, 3]
    inverse = np.array([1 / effective_number(count, beta) for count in counts])
    weights = class_balanced(torch.tensor(counts), beta).numpy()
    np.testing.assert_allclose(weights / weights.sum(), inverse / inverse.sum(), rtol=1e-5)
    assert np.average(weights, weights=counts) == pytest.approx(1)


def test_class_balanced_weights_near_one_are_those_of_the_counts():
    weights = class_balanced(torch.tensor([600, 100, 0]), 1 - 1e-12)
    assert weights[1] / weights[0] == pytest.approx(6)
    assert weights.isfinite().all()
    assert class_balanced(torch.tensor([[5, 5], [0, 0]]), 0.9).tolist() == [[1, 1], [1, 1]]


def test_balanced_classes_weigh_alike():
    target, logits = Classes(balance=0.999), torch.zeros(12, 2)
    labels = torch.tensor([0] * 10 + [1] * 2)
    with pytest.raises(ValueError, match=r"call target\.prepare"):
        target.loss(logits, labels)
    target.prepare([1000, 200], [1200, 1200])
    ratio = effective_number(1000, 0.999) / effective_number(200, 0.999)
    logits[:, 1] = 1.0
    losses = F.cross_entropy(logits, labels, reduction="none")
    expected = (losses[:10].sum() + ratio * losses[10:].sum()) / (10 + 2 * ratio)
    torch.testing.assert_close(target.loss(logits, labels), expected)
    assert target.state_dict() == {}  # they belong to the data, not to a checkpoint


def test_balanced_findings_weigh_there_against_not_there():
    target = Findings(balance=0.99)
    target.prepare([50, 0], [1000, 1000])
    weight = target.weight
    assert weight.shape == (2, 2)
    assert weight[0, 1] / weight[0, 0] == pytest.approx(effective_number(950, 0.99) / effective_number(50, 0.99))
    assert weight.isfinite().all()
    logits, labels = torch.tensor([[0.5, -0.5]]), torch.tensor([[1.0, 0.0]])
    expected = (weight[0, 1] * math.log1p(math.exp(-0.5)) + weight[1, 0] * math.log1p(math.exp(-0.5))) / 2
    assert target.loss(logits, labels).item() == pytest.approx(float(expected))
    # at the start of a training the loss is as high as without weights
    everyone = torch.zeros(1000, 2)
    everyone[:50, 0] = 1
    assert target.loss(torch.zeros(1000, 2), everyone).item() == pytest.approx(math.log(2), rel=1e-5)


def test_probabilities():
    logits = torch.tensor([[0.0, math.log(3)]], dtype=torch.bfloat16)
    for target, expected in ((Classes(), [0.25, 0.75]), (Grades(), [0.25, 0.75]), (Findings(), [0.5, 0.75])):
        probs = target.probs(logits)
        assert probs.dtype == torch.float32
        torch.testing.assert_close(probs, torch.tensor([expected]), rtol=0, atol=2e-3)


@pytest.mark.parametrize("target", [*EXCLUSIVE, *MANY], ids=name)
def test_the_loss_is_float32(target):
    logits, labels = drawn(target)
    value = target.loss(logits.bfloat16(), labels)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, target.loss(logits, labels), rtol=0.02, atol=0.02)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Classes(weights=[1.0, 2.0], balance=0.9), "weights and balance are both given"),
        (lambda: Classes(weights=[1.0, 0.0]), r"weights are \[1\.0, 0\.0\]"),
        (lambda: Findings(balance=1.0), r"balance is 1\.0"),
        (lambda: Classes(gamma=-1.0), r"gamma is -1\.0"),
        (lambda: Classes(weights=[1.0, 2.0]).loss(torch.zeros(1, 3), torch.zeros(1).long()), "2 weights for 3 classes"),
    ],
)
def test_wrong_arguments_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()

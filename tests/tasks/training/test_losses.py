"""One cross-entropy and one focal loss, in the numbers that the tasks' own had."""

import pytest
import torch
import torch.nn.functional as F

from vertebra.tasks.training.losses import CrossEntropy, FocalLoss


def drawn(*place, classes=7, number=33, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(number, classes, *place, generator=generator)
    return logits, torch.randint(classes, (number, *place), generator=generator)


def shares(classes=7, number=33):
    return torch.rand(number, classes, generator=torch.Generator().manual_seed(1)).softmax(dim=1)


@pytest.mark.parametrize("place", [(), (5, 6)])
def test_plain_cross_entropy_is_bitwise_equal_to_torch(place):
    logits, labels = drawn(*place)
    assert torch.equal(CrossEntropy()(logits, labels), F.cross_entropy(logits, labels))
    assert torch.equal(CrossEntropy()(drawn()[0], shares()), F.cross_entropy(drawn()[0], shares()))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 0.5, 1.0, 1.0, 3.0, 0.0]])
@pytest.mark.parametrize("ignored", [-1, 255])
def test_weights_smoothing_and_ignored_labels_equal_torch(weights, smoothing, ignored):
    logits, labels = drawn(5, 6)
    labels[:, 2:] = ignored
    weight = None if weights is None else torch.tensor(weights)
    expected = F.cross_entropy(logits, labels, weight, ignore_index=ignored, label_smoothing=smoothing)
    torch.testing.assert_close(CrossEntropy(weights, smoothing, ignored)(logits, labels), expected)


@pytest.mark.parametrize("loss", [CrossEntropy([1.0, 2.0, 0.5, 1.0, 1.0, 3.0, 1.0]), FocalLoss(2.0, [0.5] * 6 + [2.0])])
def test_one_hot_targets_equal_labels(loss):
    logits, labels = drawn()
    torch.testing.assert_close(loss(logits, F.one_hot(labels, 7).float()), loss(logits, labels))


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_the_focal_loss_is_the_formula(gamma):
    logits, labels = drawn(5, 6)
    labels[:, :, 4:] = -1
    losses = F.cross_entropy(logits, labels, ignore_index=-1, reduction="none")
    # as pixels had it; that of studies, which is finite where a label is certain, differs in the last digits
    expected = ((1 - torch.exp(-losses)).clamp(min=0) ** gamma * losses).sum() / (labels != -1).sum()
    torch.testing.assert_close(FocalLoss(gamma)(logits, labels), expected, rtol=1e-6, atol=0)
    weight = torch.tensor([1.0, 2.0, 0.5, 1.0, 1.0, 3.0, 1.0])
    known = labels != -1
    of_label = weight[labels[known]]
    p = logits.movedim(1, -1)[known].softmax(-1).gather(1, labels[known][:, None])[:, 0]
    expected = (of_label * (1 - p) ** gamma * -p.log()).sum() / of_label.sum()
    torch.testing.assert_close(FocalLoss(gamma, weight.tolist())(logits, labels), expected)


@pytest.mark.parametrize("loss", [CrossEntropy(), CrossEntropy([0.5] * 7), FocalLoss(0.5)])
def test_loss_of_ignored_labels_only_is_a_scalable_zero(loss):
    logits, labels = drawn()
    logits.requires_grad_()
    value = loss(logits, torch.full_like(labels, -1))
    (2.0**16 * value).backward()  # as the gradient scaler of 16-bit training does
    assert value.item() == 0
    assert logits.grad.abs().max() == 0


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: FocalLoss(-1.0), r"gamma is -1\.0"),
        (lambda: CrossEntropy(label_smoothing=1.0), r"label_smoothing is 1\.0"),
        (lambda: CrossEntropy([1.0, -2.0]), r"class_weights are \[1\.0, -2\.0\]"),
    ],
)
def test_wrong_arguments_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()

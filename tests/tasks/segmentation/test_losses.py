import pytest
import torch
import torch.nn.functional as F

from vertebra.tasks.segmentation.ignore import IGNORE_INDEX
from vertebra.tasks.segmentation.losses import OHEM, CrossEntropy, Dice, FocalLoss, Lovasz, Sum, Tversky

LOSSES = [
    CrossEntropy(),
    CrossEntropy([1.0, 2.0, 0.5], 0.1),
    OHEM(),
    Dice(),
    FocalLoss(),
    Lovasz(),
    Tversky(),
    Sum([CrossEntropy(), Dice()], [1.0, 0.5]),
]


def drawn(seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 3, 5, 7, generator=generator)
    labels = torch.randint(3, (2, 5, 7), generator=generator)
    return logits, labels


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_loss_of_ignored_pixels_only_is_zero_with_gradients(loss):
    logits, labels = drawn()
    logits.requires_grad_()
    value = loss(logits, torch.full_like(labels, IGNORE_INDEX))
    value.backward()
    assert value.item() == 0
    assert logits.grad.abs().sum() == 0


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_logits_of_ignored_pixels_do_not_matter(loss):
    logits, labels = drawn()
    labels[:, 2:4, 1:5] = IGNORE_INDEX
    other = torch.where((labels == IGNORE_INDEX)[:, None], 10 * torch.randn(logits.shape), logits).requires_grad_()
    expected, found = loss(logits, labels), loss(other, labels)
    torch.testing.assert_close(found, expected)
    found.backward()
    assert other.grad[(labels == IGNORE_INDEX)[:, None].expand_as(other)].abs().sum() == 0
    assert other.grad.abs().sum() > 0


@pytest.mark.parametrize("loss", [Dice(), Lovasz(), Tversky()], ids=lambda loss: type(loss).__name__)
def test_ignoring_pixels_equals_removing_them(loss):
    logits, labels = drawn()
    labels[:, :, 4:] = IGNORE_INDEX
    torch.testing.assert_close(loss(logits, labels), loss(logits[..., :4], labels[..., :4]))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 0.5]])
def test_cross_entropy_equals_torch(weights, smoothing):
    logits, labels = drawn()
    labels[0, :2] = IGNORE_INDEX
    expected = F.cross_entropy(
        logits,
        labels,
        weight=None if weights is None else torch.tensor(weights),
        ignore_index=IGNORE_INDEX,
        label_smoothing=smoothing,
    )
    torch.testing.assert_close(CrossEntropy(weights, smoothing)(logits, labels), expected)


def test_ohem_averages_the_hardest_pixels():
    logits, labels = drawn()
    labels[0, 0] = IGNORE_INDEX
    losses = F.cross_entropy(logits, labels, reduction="none", ignore_index=IGNORE_INDEX)[labels != IGNORE_INDEX]
    hard = losses[losses > -torch.log(torch.tensor(0.3))]
    assert 0 < len(hard) < len(losses)
    torch.testing.assert_close(OHEM(0.3, 0.01)(logits, labels), hard.mean())
    least = losses.sort(descending=True).values[: -(-len(losses) // 2)]
    torch.testing.assert_close(OHEM(1e-6, 0.5)(logits, labels), least.mean())


def test_focal_with_gamma_0_is_cross_entropy():
    torch.testing.assert_close(FocalLoss(0.0)(*drawn()), CrossEntropy()(*drawn()))


def test_lovasz_of_hard_predictions_is_one_minus_miou():
    _, labels = drawn()
    said = torch.randint(3, labels.shape, generator=torch.Generator().manual_seed(1))
    logits = 1000.0 * F.one_hot(said, 3).permute(0, 3, 1, 2)
    ious = [((said == k) & (labels == k)).sum() / ((said == k) | (labels == k)).sum() for k in range(3)]
    torch.testing.assert_close(Lovasz()(logits, labels), 1 - torch.stack(ious).mean())


def test_dice_is_the_formula():
    logits, labels = drawn()
    probs, truth = logits.softmax(1), F.one_hot(labels, 3).permute(0, 3, 1, 2)
    both, total = (probs * truth).sum((0, 2, 3)), (probs + truth).sum((0, 2, 3))
    torch.testing.assert_close(Dice()(logits, labels), (1 - (2 * both + 2) / (total + 2)).mean())


@pytest.mark.parametrize("weights", [[1.0, float("inf")], [float("nan"), 1.0], [1.0, -1.0]])
def test_class_weights_must_be_finite(weights):
    with pytest.raises(ValueError, match=r"class_weights are .*expected finite numbers, none below 0"):
        CrossEntropy(weights)

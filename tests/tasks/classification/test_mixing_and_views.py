import pytest
import torch
from torch import nn

from vertebra.tasks.classification import Mixing, Views
from vertebra.tasks.training.views import mean_finding_logits


@pytest.mark.parametrize("options", [{"mixup": 1.0, "cutmix": 0.0}, {"mixup": 0.0, "cutmix": 1.0}])
def test_soft_targets_match_the_mixing_weights(options):
    torch.manual_seed(0)
    # each image is filled with the number of its class
    labels = torch.arange(6)
    images = labels.float().view(-1, 1, 1, 1).expand(6, 3, 32, 32).clone()
    mixed, shares = Mixing(**options)(images, labels, 8)
    assert shares.shape == (6, 8)
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(6))
    assert 0 < shares[0, 0] < 1
    torch.testing.assert_close(mixed.mean(dim=(1, 2, 3)), shares @ torch.arange(8.0), rtol=1e-4, atol=1e-4)
    assert (images[:, 0, 0, 0] == labels).all()  # what went in stays as it was


def test_mixup_and_cutmix_are_both_drawn():
    torch.manual_seed(0)
    images = torch.arange(4.0).view(-1, 1, 1, 1).expand(4, 3, 16, 16).clone()
    kinds = {len(Mixing(1.0, 1.0)(images, torch.arange(4), 4)[0][1].unique()) > 1 for _ in range(20)}
    assert kinds == {True, False}  # a cut leaves both images' values, a mixture one of its own
    for wrong in ((0.0, 0.0), (-1.0, 1.0)):
        with pytest.raises(ValueError, match="expected 0 or more for both, and one above 0"):
            Mixing(*wrong)


class Corner(nn.Module):
    """Its logits are two pixels, so that every view has its own answer."""

    seen: list[torch.Size]

    def forward(self, images):
        self.seen.append(images.shape[2:])
        return images[:, 0, 0, :2]


def test_views_average_probabilities():
    images = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    network = Corner()
    network.seen = []
    logits = Views(flip=True, crop=0.75)(network, images)
    assert network.seen == [torch.Size([12, 12])] * 10
    expected = 0
    for view in (images, images.flip(-1)):
        for top, left in ((0, 0), (0, 4), (4, 0), (4, 4), (2, 2)):
            expected = expected + view[:, 0, top, left : left + 2].softmax(dim=1) / 10
    torch.testing.assert_close(logits.softmax(dim=1), expected)
    torch.testing.assert_close(logits.logsumexp(dim=1), torch.zeros(3))


def test_without_flips_and_crops_there_is_a_single_view():
    images = torch.randn(2, 3, 8, 8)
    network = Corner()
    network.seen = []
    logits = Views(flip=False)(network, images)
    torch.testing.assert_close(logits, network(images).log_softmax(dim=1))
    with pytest.raises(ValueError, match=r"crop is 1\.5"):
        Views(crop=1.5)


def test_logits_of_findings_have_the_mean_of_the_sigmoids():
    logits = torch.tensor([[0.5, 25.0, -90.0], [-2.0, 30.0, -95.0]])
    mean = mean_finding_logits(logits, dim=0)
    expected = logits.double().sigmoid().mean(dim=0).logit()
    torch.testing.assert_close(mean.double(), expected, rtol=1e-5, atol=1e-5)  # 25 and 30 are both 1.0 in float32

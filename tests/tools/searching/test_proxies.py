"""Zero-cost proxies of networks whose scores follow by hand."""

import math

import pytest
import torch
from torch import nn

from vertebra.backbones import create_backbone
from vertebra.tools.searching.proxies import naswot, synflow


class Linear(nn.Module):
    """Two linear layers, 2 -> 2 -> 1, on maps of one pixel."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(2, 2, 1, bias=False)
        self.second = nn.Conv2d(2, 1, 1, bias=False)
        self.first.weight.data = torch.tensor([[1.0, -2.0], [3.0, 4.0]])[:, :, None, None]
        self.second.weight.data = torch.tensor([[-5.0, 6.0]])[:, :, None, None]

    def forward(self, x):
        return self.second(self.first(x))


def test_synaptic_flow_of_a_linear_network_is_the_flow_of_each_layer():
    # |W2| |W1| 1 = 5 * (1 + 2) + 6 * (3 + 4) = 57, which flows through either of the two layers
    network = Linear()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    assert synflow(network, (2, 1, 1)) == pytest.approx(math.log(2 * 57), rel=1e-12)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert all(x.grad is None for x in network.parameters())


def test_synaptic_flow_ignores_signs_and_grows_with_weights():
    network = Linear()
    base = synflow(network, (2, 1, 1))
    network.first.weight.data.neg_()
    assert synflow(network, (2, 1, 1)) == base
    network.first.weight.data.mul_(10)
    assert synflow(network, (2, 1, 1)) == pytest.approx(base + math.log(10))


def test_the_kernel_counts_units_on_which_two_images_agree():
    images = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])[:, :, None, None]
    # agreements of (1, 1), (1, 0) and (0, 0)
    kernel = torch.tensor([[2.0, 1.0, 0.0], [1.0, 2.0, 1.0], [0.0, 1.0, 2.0]])
    assert naswot(nn.Sequential(nn.ReLU()), images) == pytest.approx(float(kernel.logdet()))
    assert naswot(nn.Sequential(nn.ReLU(), nn.ReLU()), images) == pytest.approx(
        # behind the first, zeros are off as well: both count alike
        float((2 * kernel).logdet())
    )


def test_images_of_equal_patterns_score_least():
    assert naswot(nn.Sequential(nn.ReLU()), torch.ones(2, 1, 1, 1)) == -math.inf
    assert naswot(Linear(), torch.randn(3, 2, 1, 1)) == -math.inf  # there are no units


def test_scores_leave_a_network_as_it_was():
    torch.manual_seed(0)

    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = create_backbone("resnet:small-basic-d1.1-w4.8-se")

        def forward(self, x):
            return self.body(x)["C3"]

    network = Last()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    images = torch.randn(4, 3, 8, 8)
    first = naswot(network, images), synflow(network, (3, 8, 8))
    assert (naswot(network, images), synflow(network, (3, 8, 8))) == first
    assert all(math.isfinite(score) for score in first)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert network.training
    assert not any(module._forward_hooks for module in network.modules())

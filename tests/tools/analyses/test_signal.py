"""Statistics of activations and gradients, on networks whose values are known."""

from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from vertebra.backbones import create_backbone
from vertebra.tools.analyses.networks.blocks import Block, blocks_of
from vertebra.tools.analyses.signal import Growth, Reading, fit_growth, gradient_ratio, trace


class Scale(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(factor))

    def forward(self, x):
        return x * self.weight


def blocks(*modules, stages=None):
    stages = stages or ["stage"] * len(modules)
    return [
        Block(f"{stage}.{i}", stage, module, None)
        for i, (stage, module) in enumerate(zip(stages, modules, strict=True))
    ]


# (2, 2, 1, 2): two samples, two channels, two pixels
X = torch.tensor([[[[1.0, 3.0]], [[10.0, 10.0]]], [[[1.0, 3.0]], [[-10.0, -10.0]]]])


def test_a_linear_net_has_the_known_statistics():
    first, second = Scale(2.0), Scale(-3.0)
    x = X.clone().requires_grad_()
    weight = torch.arange(8.0).view(2, 2, 1, 2)
    readings = trace(blocks(first, second), lambda: (weight * second(first(x))).sum())
    assert [reading.mean for reading in readings] == [1.0, 2.0, -6.0]
    assert readings[0].variance == pytest.approx(float(X.numpy().var()))
    assert readings[2].variance == pytest.approx(36 * readings[0].variance)
    # the norm of a sample is the root of 1 + 9 + 100 + 100
    assert [reading.norm for reading in readings] == pytest.approx([210**0.5, 2 * 210**0.5, 6 * 210**0.5])
    # channel means are 2 and 0, variances 1 and 100
    assert [reading.channel_squared_mean for reading in readings] == pytest.approx([2, 8, 72])
    assert [reading.channel_variance for reading in readings] == pytest.approx([50.5, 202, 1818])
    assert np.isnan(readings[1].branch_variance)
    gradient = float(weight.norm())
    assert [reading.gradient_norm for reading in readings] == pytest.approx([6 * gradient, 3 * gradient, gradient])
    assert [reading.gradient_mean for reading in readings] == pytest.approx([-21, -10.5, 3.5])
    assert readings[2].gradient_variance == pytest.approx(5.25)
    assert gradient_ratio(readings) == pytest.approx(6)
    # d loss / d factor = sum(weight * x) * other factor
    product = float((weight * X).sum())
    assert readings[1].weight_gradient_norm == pytest.approx(abs(3 * product))
    assert readings[2].weight_gradient_norm == pytest.approx(abs(2 * product))


def test_channels_of_tokens_come_last():
    net = Scale(2.0)
    first, last = trace(blocks(net), lambda: net(X.flatten(2).mT).sum())  # (N, L, C)
    assert (first.channel_squared_mean, first.channel_variance) == pytest.approx((2, 50.5))
    assert last.channel_variance == pytest.approx(202)


def test_an_identity_net_keeps_everything():
    x = X.clone().requires_grad_()
    net = nn.Sequential(nn.Identity(), nn.Identity())
    readings = trace(blocks(*net), lambda: net(x).square().sum())
    assert vars(readings[0]) == pytest.approx(vars(readings[2]), nan_ok=True)
    assert gradient_ratio(readings) == 1


def test_hooks_are_gone_after_tracing():
    net = nn.Sequential(Scale(1.0))
    trace(blocks(*net), lambda: net(X).sum())
    assert not net[0]._forward_hooks
    assert not net[0]._forward_pre_hooks


def test_growth_is_fitted_within_a_stage():
    variances = [1.0, 3.0, 5.0, 7.0, 2.0, 2.0, 5.0]
    readings = [Reading(), *(Reading(channel_variance=value) for value in variances)]
    first, second = fit_growth(blocks(*[nn.Identity()] * 7, stages=["a"] * 4 + ["b"] * 3), readings)
    assert first == pytest.approx(Growth("a", 4, 1.0, 7.0, 2.0, 1.0))
    assert second == pytest.approx(Growth("b", 3, 2.0, 5.0, 1.5, 0.75))


def test_the_branch_is_read_before_the_shortcut_is_added():
    network = create_backbone("resnet20").eval()
    found = blocks_of(network)
    with torch.no_grad():
        for block in found:
            block.module.bn2.weight.fill_(0.0)
            block.module.bn2.bias.copy_(torch.arange(len(block.module.bn2.bias)))
    torch.manual_seed(0)
    readings = trace(found, lambda: network(torch.randn(2, 3, 16, 16))["C4"].mean())
    # the branch is constant in each channel, and its output is not
    assert [reading.branch_variance for reading in readings[1:]] == pytest.approx([0.0] * 9)
    assert all(reading.channel_variance > 1e-3 for reading in readings[1:])


def test_variance_of_a_residual_network_grows_by_that_of_a_branch_and_resets():
    torch.manual_seed(0)
    network = create_backbone("resnetv2_110").train()
    found = blocks_of(network)
    run = partial(network, torch.randn(8, 3, 16, 16))
    growths = fit_growth(found, trace(found, lambda: run()["C4"].mean()))
    assert [growth.blocks for growth in growths] == [18, 18, 18]
    for growth in growths:
        assert growth.r2 > 0.97
        assert growth.slope == pytest.approx(0.7, abs=0.25)
    for before, after in pairwise(growths):
        assert after.first < before.last / 4


def test_gradients_of_a_plain_network_explode_and_those_of_a_residual_one_do_not():
    torch.manual_seed(1)
    images, target = torch.randn(8, 3, 16, 16), torch.randn(8, 64)

    def ratio(name):
        torch.manual_seed(0)
        network = create_backbone(name).train()
        return gradient_ratio(
            trace(blocks_of(network), lambda: (network(images)["C4"].mean(dim=(2, 3)) * target).sum())
        )

    assert ratio("plain44") > 10 * ratio("resnet44")

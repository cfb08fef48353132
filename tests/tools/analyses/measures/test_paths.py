"""Paths through residual networks: their counts, and gradients that add up to the gradient of the loss."""

from itertools import combinations

import numpy as np
import pytest
import torch
from torch import nn

from vertebra.backbones import create_backbone
from vertebra.tools.analyses.measures.paths import (
    PathGradients,
    Paths,
    central_lengths,
    gradients_by_length,
    measure_paths,
    path_counts,
    path_sentences,
)
from vertebra.tools.analyses.networks.blocks import Block, blocks_of
from vertebra.tools.analyses.networks.encoder_halves import in_halves


class LinearBlock(nn.Module):
    """x -> x + factor * x, whose paths have known gradients."""

    def __init__(self, factor):
        super().__init__()
        self.branch = nn.Linear(1, 1, bias=False)
        nn.init.constant_(self.branch.weight, factor)

    def forward(self, x):
        return self.branch(x).add_(x)


def linear_net(*factors):
    net = nn.Sequential(*map(LinearBlock, factors)).double()
    return net, [Block(str(i), "", block, block.branch) for i, block in enumerate(net)]


def test_path_lengths_are_binomial():
    assert path_counts(4) == [1, 4, 6, 4, 1]
    assert sum(path_counts(54)) == 2**54
    # counted one by one
    assert path_counts(6) == [
        sum(len(chosen) == k for n in range(7) for chosen in combinations(range(6), n)) for k in range(7)
    ]


def test_paths_of_a_linear_net_have_the_products_of_their_factors():
    net, blocks = linear_net(2.0, 3.0, 5.0)
    x = torch.ones(1, 1, dtype=torch.float64)
    gradients = PathGradients(blocks, lambda: net(x).sum())
    assert gradients.along(()).item() == 1
    assert gradients.along({0}).item() == 2
    assert gradients.along({0, 2}).item() == 10
    assert gradients.along({0, 1, 2}).item() == 30
    assert gradients.along_all().item() == 3 * 4 * 6
    norms = gradients_by_length(blocks, lambda: net(x).sum(), paths=50, seed=0)
    assert [len(found) for found in norms] == [1, 3, 3, 1]
    assert norms[0].tolist() == [1]
    assert set(norms[1]) <= {2, 3, 5}
    assert set(norms[2]) <= {6, 10, 15}
    assert norms[3].tolist() == [30]


def test_shares_of_a_net_with_equal_blocks_are_those_of_its_power():
    # (1 + 1/3)^9: the share of length k is C(9, k) 3^-k / (4/3)^9
    net, blocks = linear_net(*[1 / 3] * 9)
    paths = measure_paths(blocks, lambda: net(torch.ones(1, 1, dtype=torch.float64)).sum(), paths=2, seed=0)
    expected = [count * 3.0**-k / (4 / 3) ** 9 for k, count in enumerate(path_counts(9))]
    assert paths.shares == pytest.approx(expected)
    assert paths.counts == pytest.approx(np.array(path_counts(9)) / 512)
    assert (paths.shares * np.arange(10)).sum() == pytest.approx(9 / 4)


@pytest.mark.parametrize(
    "name", ["resnet20", "resnetv2_18", "seresnet18", "resnet20_c", "timm:test_resnet", "vit_tiny_patch16_224"]
)
def test_gradients_of_all_paths_add_up_to_the_gradient(name):
    torch.manual_seed(0)
    body = in_halves(create_backbone(name).eval().double())
    for module in body.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
    blocks = blocks_of(body)
    first, rest = blocks[:4], blocks[4:]
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    gradients = PathGradients(first, lambda: list(body(images).values())[-1].square().sum())
    paths = [chosen for n in range(5) for chosen in combinations(range(len(first)), n)]
    assert len(paths) == 2 ** len(first)
    total = sum(gradients.along(set(chosen)) for chosen in paths)
    assert gradients.along_all().norm() > 0
    torch.testing.assert_close(total, gradients.along_all())
    # the gradient of the loss itself, without any gate
    seen = []
    handle = first[0].module.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    loss = list(body(images).values())[-1].square().sum()
    handle.remove()
    (expected,) = torch.autograd.grad(loss, seen[0])
    torch.testing.assert_close(gradients.along_all(), expected)
    assert rest or name.startswith("timm")


def test_the_central_lengths_leave_out_the_tails():
    shares = np.array([0.02, 0.01, 0.47, 0.47, 0.01, 0.02])
    assert central_lengths(shares) == (1, 4)
    assert central_lengths(np.array([0.01, 0.0, 0.98, 0.0, 0.01])) == (2, 2)
    assert central_lengths(np.array([0.0, 1.0])) == (1, 1)


def test_a_sum_that_depends_on_one_random_path_is_named():
    counts = np.array(path_counts(3)) / 8
    even, uneven = ([np.ones(1), np.array([1.0, 1.0]), np.array([1.0, last]), np.ones(1)] for last in (1.0, 27.0))
    assert len(path_sentences(Paths(even, counts, np.array([0.0, 0.0, 1.0, 0.0])))) == 2
    *_, lengths, warning = path_sentences(Paths(uneven, counts, np.array([0.0, 0.0, 1.0, 0.0])))
    assert lengths.endswith("comes from paths of 2 branches.")
    # 3 / 8 of 27 / 2, of 1 / 8 + 3 / 8 + 3 / 8 of 14 + 1 / 8
    assert "makes 86% of that sum" in warning


def test_a_plain_block_has_no_paths():
    blocks = blocks_of(create_backbone("plain20"))
    with pytest.raises(ValueError, match=r"layer1\.0 has no residual branch"):
        PathGradients(blocks, lambda: torch.zeros(()))

import numpy as np
import pytest
import torch
from scipy.linalg import expm
from torch import nn

from vertebra.tools.analyses.measures.continuous_depth import (
    kind_of_sum,
    refined,
    relative_distance,
    run_blocks,
    solve_blocks,
)
from vertebra.tools.analyses.networks.residual_branches import Branch


class Step(nn.Module):
    """x + function(x), or its positive part."""

    def __init__(self, function, rectified=False):
        super().__init__()
        self.function, self.rectified = function, rectified

    def forward(self, x):
        total = self.function(x).add_(x)
        return total.relu_() if self.rectified else total


def branches_of(*steps):
    return [Branch(f"stage.{i}", "stage", step, step.function) for i, step in enumerate(steps)]


def linear(matrix, blocks=1, rectified=False):
    layer = nn.Linear(*matrix.shape, bias=False, dtype=torch.float64)
    layer.weight.data = matrix / blocks
    return branches_of(*(Step(layer, rectified) for _ in range(blocks)))


@pytest.fixture
def matrix():
    return 0.5 * torch.randn(5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture
def x():
    return torch.randn(3, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_finer_steps_converge_to_the_matrix_exponential_at_first_order(matrix, x):
    exact = x @ torch.from_numpy(expm(matrix.numpy())).mT
    errors = [relative_distance(run_blocks(linear(matrix, blocks=2), x, steps), exact) for steps in (8, 16, 32, 64)]
    orders = np.log2(errors[:-1]) - np.log2(errors[1:])
    assert orders == pytest.approx(1, abs=0.1)
    assert errors[-1] < 0.01


def test_the_solver_finds_the_matrix_exponential(matrix, x):
    solved = solve_blocks(linear(matrix, blocks=2), x, "sum", tolerance=1e-8)
    torch.testing.assert_close(solved, x @ torch.from_numpy(expm(matrix.numpy())).mT, rtol=1e-6, atol=1e-6)


def test_a_rectified_flow_stays_at_zero_and_leaves_it_again():
    # x0 falls to 0 at t = 0.5 and stays; x1, driven by x0 - 0.25, waits at 0 until x0 is below and rises then
    class Field(nn.Module):
        def forward(self, x):
            return torch.stack([torch.full_like(x[:, 0], -1.0), 0.25 - x[:, 0]], dim=1)

    branches = branches_of(Step(Field(), rectified=True))
    start = torch.tensor([[0.5, 0.0]], dtype=torch.float64)
    solved = solve_blocks(branches, start, "rectified", tolerance=1e-7)
    # from t = 0.25 on: the integral of t - 0.25 up to 0.5, then 0.25 a unit of time
    expected = torch.tensor([[0, 0.25**2 / 2 + 0.25 * 0.5]], dtype=torch.float64)
    torch.testing.assert_close(solved, expected, atol=1e-3, rtol=0)
    torch.testing.assert_close(run_blocks(branches, start, steps=4000), expected, atol=1e-3, rtol=0)


def test_one_step_is_the_block_itself_and_nothing_remains_after(matrix, x):
    branches = linear(matrix)
    before = branches[0].block(x)
    assert torch.equal(run_blocks(branches, x, steps=1), before)
    with refined(branches, 2):
        assert not torch.equal(branches[0].block(x), before)
    assert torch.equal(branches[0].block(x), before)


def test_two_half_steps_of_a_linear_block(matrix, x):
    half = torch.eye(5, dtype=torch.float64) + matrix / 2
    torch.testing.assert_close(run_blocks(linear(matrix), x, steps=2), x @ half.mT @ half.mT)


@pytest.mark.parametrize(("rectified", "kind"), [(False, "sum"), (True, "rectified")])
def test_kinds_of_sums(matrix, x, rectified, kind):
    assert kind_of_sum(linear(matrix, rectified=rectified)[0], x) == kind


def test_a_sum_of_another_kind(x):
    class Doubled(Step):
        def forward(self, x):
            return 2 * super().forward(x)

    assert kind_of_sum(branches_of(Doubled(nn.Linear(5, 5, dtype=torch.float64)))[0], x) is None

"""Directions and curvature on surfaces of known answer: bowls, saddles, filters of known norm."""

import csv
import shutil

import numpy as np
import pytest
import torch
from torch import nn

from vertebra.backbones import create_backbone
from vertebra.tools.analyses.landscape import checkpoints_of
from vertebra.tools.analyses.measures.curvature import grid_curvature, hessian_extremes, negative_shares, nonconvexity
from vertebra.tools.analyses.measures.directions import filter_normalized, losses_at, principal_directions
from vertebra.tools.main import main


def surface(function, number=11, span=1.0):
    axis = np.linspace(-span, span, number)
    x, y = np.meshgrid(axis, axis, indexing="ij")
    return function(x, y), axis[1] - axis[0]


def test_a_bowl_has_its_curvature_everywhere_and_no_negative_share():
    losses, step = surface(lambda x, y: 3 * x**2 + 0.5 * y**2 + x - 2)
    curvatures = grid_curvature(losses, step)
    assert curvatures.shape == (9, 9, 2)
    assert curvatures[..., 0] == pytest.approx(np.full((9, 9), 1.0))
    assert curvatures[..., 1] == pytest.approx(np.full((9, 9), 6.0))
    assert negative_shares(curvatures).max() == 0


@pytest.mark.parametrize(
    ("function", "share"),
    [
        (lambda x, y: x**2 - y**2, 0.5),
        (lambda x, y: x * y, 0.5),  # the same saddle, rotated: the mixed derivative counts
        (lambda x, y: 3 * x**2 - y**2, 0.25),
        (lambda x, y: -(x**2) - 2 * y**2, 1.0),
        (lambda x, y: x**2 + 0 * y, 0.0),
        (lambda x, y: 0 * x, 0.0),
    ],
)
def test_saddles_and_domes_have_their_negative_share(function, share):
    losses, step = surface(function)
    assert negative_shares(grid_curvature(losses, step)) == pytest.approx(np.full((9, 9), share), abs=1e-9)


def test_points_beside_an_overflow_have_no_curvature():
    losses, step = surface(lambda x, y: x**2 + y**2)
    losses[5, 5] = np.nan
    shares = negative_shares(grid_curvature(losses, step))
    assert np.isnan(shares[4, 4])
    assert np.isnan(shares).sum() == 9
    assert np.nanmax(shares) == 0


def test_the_hessian_of_a_quadratic_form_has_its_eigenvalues():
    torch.manual_seed(0)
    values = torch.tensor([-2.0, 0.5, 1.0, 3.0, 3.5, 7.0], dtype=torch.float64)
    basis, _ = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64))
    matrix = basis @ values.diag() @ basis.T
    first, second = (torch.randn(n, dtype=torch.float64, requires_grad=True) for n in (2, 4))

    def loss():
        x = torch.cat([first, second])
        return x @ matrix @ x / 2

    assert hessian_extremes([first, second], loss, 6, seed=0) == pytest.approx((-2, 7))
    low, high = hessian_extremes([first, second], loss, 3, seed=0)
    assert -2 <= low < high <= 7
    assert nonconvexity(-2, 7) == pytest.approx(2 / 7)
    assert nonconvexity(0.1, 7) == 0


def test_the_hessian_of_attention_has_its_eigenvalues():
    tokens = torch.randn(1, 3, 4, generator=torch.Generator().manual_seed(0))
    weights = torch.eye(4).requires_grad_()

    def loss(weights=weights):
        return nn.functional.scaled_dot_product_attention(tokens @ weights, tokens, tokens).square().sum()

    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        matrix = torch.autograd.functional.hessian(loss, weights.detach()).reshape(16, 16)
    expected = torch.linalg.eigvalsh(matrix)[[0, -1]].tolist()
    assert hessian_extremes([weights], loss, 16, seed=0) == pytest.approx(expected, rel=1e-3)


def test_the_hessian_ignores_unused_and_linear_parameters():
    x, unused, linear = (torch.ones(2, requires_grad=True) for _ in range(3))
    parameters = [unused, x, linear]
    assert hessian_extremes(parameters, lambda: (2 * x**2).sum() + linear.sum(), 5, seed=0) == pytest.approx((4, 4))
    assert hessian_extremes(parameters, lambda: linear.sum(), 5, seed=0) == (0, 0)


def test_each_filter_has_the_norm_of_the_weights_and_norms_do_not_move():
    torch.manual_seed(0)
    network = nn.Sequential(create_backbone("resnet20"), nn.Linear(64, 10))
    parameters = list(network.parameters())
    direction = filter_normalized(parameters, torch.Generator().manual_seed(0))
    for name, step in zip((name for name, _ in network.named_parameters()), direction, strict=True):
        weight = network.get_parameter(name)
        if weight.dim() == 1:  # biases, and weights of norms
            assert not step.any(), name
        else:
            norms = weight.detach().flatten(1).norm(dim=1)
            torch.testing.assert_close(step.flatten(1).norm(dim=1), norms)
            assert (step.flatten(1) @ weight.detach().flatten(1).T).diag().abs().max() < 0.95 * norms.square().max()
    again = filter_normalized(parameters, torch.Generator().manual_seed(0))
    assert all(torch.equal(a, b) for a, b in zip(direction, again, strict=True))


def test_losses_follow_the_directions_and_parameters_are_put_back():
    weight, bias = nn.Parameter(torch.tensor([[1.0, 2.0]])), nn.Parameter(torch.tensor([5.0]))
    directions = [[torch.tensor([[1.0, 0.0]]), torch.zeros(1)], [torch.tensor([[0.0, 2.0]]), torch.zeros(1)]]
    points = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [-1.0, 0.5]])
    found = losses_at([weight, bias], directions, points, lambda: ((weight**2).sum() + bias).item(), "")
    assert found == pytest.approx([10, 13, 22, 14])
    assert torch.equal(weight, torch.tensor([[1.0, 2.0]]))
    diverged = losses_at([weight, bias], directions, points, lambda: float("inf"), "")
    assert np.isnan(diverged).all()
    with pytest.raises(KeyboardInterrupt):
        losses_at([weight, bias], directions, points[1:], lambda: (_ for _ in ()).throw(KeyboardInterrupt), "")
    assert torch.equal(weight, torch.tensor([[1.0, 2.0]]))


def test_principal_directions_of_a_path_in_a_plane():
    torch.manual_seed(0)
    basis, _ = torch.linalg.qr(torch.randn(12, 2))
    path = torch.tensor([[9.0, 0.0], [5.0, 2.0], [2.0, 1.0], [0.0, 0.0]])
    end = torch.randn(3, 4)
    points = [[end + (basis @ xy).view(3, 4), torch.randn(5)] for xy in path]
    trajectory = principal_directions(points)
    assert trajectory.explained.sum() == pytest.approx(1)
    assert trajectory.explained[0] > trajectory.explained[1] > 0
    assert np.linalg.norm(trajectory.coordinates, axis=1) == pytest.approx(path.norm(dim=1).numpy(), abs=1e-5)
    first, second = trajectory.directions
    assert float(first[0].norm()) == pytest.approx(1)
    assert float((first[0] * second[0]).sum()) == pytest.approx(0, abs=1e-6)
    assert not first[1].any()
    with pytest.raises(ValueError, match="lie on a line"):
        principal_directions([[end * 3], [end * 2], [end]])


def landscape(*words):
    sizes = ["--samples", 4, "--batch", 4, "--grid", 3, "--lines", 1, "--hessian", 1, "--iterations", 2]
    return main(["analyze", "landscape", *map(str, (*words, *sizes))])


def test_the_command_on_a_backbone_leaves_norms_as_they_are(tmp_path, capsys):
    assert landscape("plain20", "--size", 18, "--output", tmp_path) == 0
    printed = capsys.readouterr().out
    assert "mean negative share of the curvature over 1 points" in printed
    assert "There is no path of a training: the network is untrained." in printed
    with (tmp_path / "landscape.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["part"] for row in rows] == ["line"] * 7 + ["plane"] * 9
    center = [float(row["loss"]) for row in rows if float(row["a"]) == 0 and row["b"] in ("nan", "0.0")]
    # the middle of the line and of the plane are the weights themselves
    assert center[0] == pytest.approx(center[1], rel=1e-6)
    assert (tmp_path / "landscape_surface.png").stat().st_size > 10_000


@pytest.mark.slow
def test_the_path_of_a_run_with_its_checkpoints(trained, tmp_path, capsys):
    folder, _ = trained("classification")
    copy = shutil.copytree(folder, tmp_path / "run")
    assert landscape(copy) == 0
    assert "the run kept 1 checkpoints of different steps, and three are needed" in capsys.readouterr().out
    best = torch.load(copy / "checkpoints/best.ckpt", weights_only=True)
    for step in (10, 20, 30):
        state = {name: torch.randn_like(x) if x.dim() > 1 else x for name, x in best["state_dict"].items()}
        torch.save({**best, "global_step": step, "state_dict": state}, copy / f"checkpoints/step{40 - step}.ckpt")
    assert [file.name for file in checkpoints_of(copy / "checkpoints/best.ckpt")][1:] == [
        "step30.ckpt",
        "step20.ckpt",
        "step10.ckpt",
    ]
    assert landscape(copy, "--output", tmp_path / "out") == 0
    assert "The path of 4 checkpoints lies to" in capsys.readouterr().out
    with (tmp_path / "out/landscape_path.csv").open() as stream:
        places = [
            [float(row[name]) for name in ("first direction", "second direction")] for row in csv.DictReader(stream)
        ]
    assert len(places) == 5
    assert places[-1] == [0, 0]
    # the first checkpoint has the very weights that are examined
    assert places[0] == pytest.approx([0, 0], abs=1e-4)
    assert min(np.linalg.norm(place) for place in places[1:4]) > 1


def test_sizes_out_of_range_are_refused(capsys):
    assert main(["analyze", "landscape", "resnet20", "--grid", "2"]) == 1
    assert "--grid 2, --lines 3, --hessian 3" in capsys.readouterr().err

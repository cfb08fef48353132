"""ODE-Nets: Euler's method against a ResNet of shared weights, other solvers against known solutions."""

import importlib.util
import sys

import pytest
import torch
from torch import nn

from vertebra.backbones import BackboneOptions, ResNet, create_backbone
from vertebra.backbones.blocks_preact import PreActBasicBlock, norm_and_relu
from vertebra.backbones.ode import ODEStage, Solver
from vertebra.backbones.odenet import odenet


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


class Linear(nn.Module):
    """Block x + a x, whose equation dx/dt = a x has the solution x exp(a t)."""

    def __init__(self, rate):
        super().__init__()
        self.rate = nn.Parameter(torch.tensor(rate, dtype=torch.float64))

    def forward(self, x):
        return x + self.rate * x


def linear(time, rate=-0.3, **solver):
    return ODEStage(nn.Identity(), Linear(rate), *[nn.Identity()] * (time - 1), solver=Solver(**solver))


def spread(network):
    """Give every parameter another value: fresh norms and biases are all alike."""
    for parameter in network.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.05)
    return network


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_euler_is_the_resnet_of_shared_weights_bit_by_bit(dtype):
    def block(spec):
        return PreActBasicBlock(spec._replace(norm="group"))

    options = {"widths": (8, 16), "strides": (1, 2), "closing": norm_and_relu}
    shared = spread(ResNet(block, (4, 3), BackboneOptions(), stage=ODEStage, **options)).to(dtype).eval()
    whole = ResNet(block, (4, 3), BackboneOptions(), **options).to(dtype).eval()
    state = shared.state_dict()
    for key in whole.state_dict():
        stage, number, *rest = key.split(".")
        if stage.startswith("layer") and int(number) > 1:
            state[key] = shared.state_dict()[".".join([stage, "1", *rest])]
    whole.load_state_dict(state)
    images = torch.randn(2, 3, 33, 40, dtype=dtype)
    features = shared(images)
    for name, x in whole(images).items():
        assert torch.equal(features[name], x)
    assert [shared.layer1.num_evaluations, shared.layer2.num_evaluations] == [3, 2]
    # the gradient of the shared block is the sum over its uses
    sum(x.sum() for x in shared(images).values()).backward()
    sum(x.sum() for x in whole(images).values()).backward()
    expected = sum(whole.layer1[i].conv1.weight.grad for i in (1, 2, 3))
    torch.testing.assert_close(shared.layer1[1].conv1.weight.grad, expected, rtol=1e-4, atol=1e-4)


def test_smaller_steps_approach_the_solution():
    x = torch.ones(1, dtype=torch.float64)
    expected = torch.exp(torch.tensor(-0.9, dtype=torch.float64))
    errors = [(linear(3, steps=steps)(x) - expected).abs().item() for steps in (1, 10, 100)]
    assert errors[0] > 9 * errors[1] > 81 * errors[2]  # of first order
    assert errors[2] < 1e-3


def test_a_state_in_bfloat16_is_solved_in_float32():
    network = odenet(20).train()
    states = []
    network.layer1[1].register_forward_pre_hook(lambda block, inputs: states.append(inputs[0].dtype))
    with torch.autocast("cpu", torch.bfloat16):
        x = network(torch.randn(2, 3, 16, 16))["C4"]
    x.float().sum().backward()
    assert states == [torch.float32] * 2
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in network.parameters())


@pytest.mark.parametrize(("name", "number"), [("odenet20", 20), ("odenet56", 56)])
def test_weights_do_not_grow_with_time(name, number):
    body = create_backbone(name).eval()
    assert sum(p.numel() for p in body.parameters()) == sum(p.numel() for p in create_backbone("odenet32").parameters())
    body(torch.randn(1, 3, 8, 8))
    assert body.layer3.num_evaluations == (number - 2) // 6 - 1
    with torch.device("meta"):
        assert create_backbone("odenet18").levels == create_backbone("resnetv2_18").levels


def test_norms_of_the_equation_are_group_norms():
    body = create_backbone("odenet18")
    assert isinstance(body.layer2[0].bn1, nn.BatchNorm2d)
    assert isinstance(body.layer2[1].bn1, nn.GroupNorm)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: odenet(19), "depth is 19; choose 18, 20, 32"),
        (
            lambda: create_backbone("odenet18", drop_path_rate=0.1),
            r"drop_path_rate is 0\.1, but the stages of an ODE-Net",
        ),
        (lambda: create_backbone("odenet18", checkpointing=True), "take a solver with adjoint=True to save memory"),
        (lambda: Solver(steps=0), "steps is 0"),
        (lambda: Solver(rtol=0), r"rtol is 0 and atol 0\.0001; tolerances are above 0"),
    ],
)
def test_invalid_networks_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchdiffeq", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr("vertebra.backbones.ode.find_spec", lambda name: None)
    with pytest.raises(
        ValueError, match=r"needs torchdiffeq, which is not installed; .* pip install 'vertebra\[ode\]'"
    ):
        Solver("dopri5")
    assert Solver("euler").is_own


@pytest.mark.parametrize("adjoint", [False, True])
@pytest.mark.parametrize(("method", "steps"), [("dopri5", 1), ("rk4", 10), ("euler", 1000)])
def test_solvers_find_solution_and_gradient(method, steps, adjoint):
    stage = linear(2, method=method, steps=steps, rtol=1e-8, atol=1e-8, adjoint=adjoint)
    x = torch.tensor([1.0, -2.0], dtype=torch.float64, requires_grad=True)
    y = stage(x)
    y.sum().backward()
    factor = torch.exp(torch.tensor(-0.6, dtype=torch.float64))
    tolerance = 1e-3 if method == "euler" else 1e-5
    torch.testing.assert_close(y, x * factor, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(x.grad, factor.expand(2), rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(stage[1].rate.grad, -2 * factor, rtol=tolerance, atol=tolerance)  # t exp(a t) sum(x)


def test_evaluations_grow_as_tolerances_fall():
    counts = []
    for tolerance in (1e-1, 1e-4, 1e-8):
        stage = linear(8, rate=-1.0, method="dopri5", rtol=tolerance, atol=tolerance)
        stage(torch.ones(1, dtype=torch.float64))
        counts.append(stage.num_evaluations)
    assert counts[0] < counts[1] < counts[2]


def test_torchdiffeq_without_adjoint_is_own_euler():
    network = odenet(20).double().eval()
    images = torch.randn(1, 3, 16, 16, dtype=torch.float64)
    expected = network(images)["C4"]
    for stage in (network.layer1, network.layer2, network.layer3):
        stage.solver = Solver(adjoint=True)
    torch.testing.assert_close(network(images)["C4"], expected)


def stored(network, images):
    sizes = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: sizes.append(x.numel()) or x, lambda x: x):
        network(images)
    return sum(sizes)


def test_the_adjoint_stores_no_steps_and_has_nearly_the_discrete_gradient():
    x = torch.randn(2, 64, 5, 5, dtype=torch.float64, requires_grad=True)
    network = spread(
        ResNet(PreActBasicBlock, (4,), BackboneOptions(norm="group"), stage=ODEStage, widths=(8,), strides=(1,))
    )
    stage = network.double().layer1
    gradients, sizes = [], []
    for adjoint in (False, True):
        stage.solver = Solver("dopri5", rtol=1e-4, atol=1e-4, adjoint=adjoint)
        sizes.append(stored(stage, x))
        gradients.append(torch.autograd.grad(stage(x).square().mean(), [x, *stage.parameters()]))
    assert sizes[1] < 0.3 * sizes[0]
    # not equal: where a ReLU switches, the equation is not smooth, and solved backward it takes another path
    for discrete, continuous in zip(*gradients, strict=True):
        assert torch.nn.functional.cosine_similarity(discrete.flatten(), continuous.flatten(), dim=0) > 0.99

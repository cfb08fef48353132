"""Momentum ResNets: exact inversion, gradients of plain autograd, memory against depth, and the authors' package."""

import copy
from fractions import Fraction

import pytest
import torch
from torch import nn

from vertebra.backbones import BackboneOptions, ResNet, create_backbone, load_weights
from vertebra.backbones.blocks import BasicBlock, Bottleneck
from vertebra.backbones.fixed_point import LIMIT, FixedPointState, to_fixed
from vertebra.backbones.momentum import MomentumStage
from vertebra.backbones.momentum_resnet import momentum_resnet


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def stage(depth, block=BasicBlock, gamma=0.9, invertible=True, drop_path_rate=0.0, norm="batch"):
    body = ResNet(
        block,
        (depth,),
        BackboneOptions(norm=norm, drop_path_rate=drop_path_rate),
        widths=(8,),
        strides=(1,),
        stage=lambda *blocks: MomentumStage(*blocks, gamma=gamma, invertible=invertible),
    )
    return body.layer1


def block_input(block=BasicBlock, dtype=torch.float64, requires_grad=True):
    return torch.randn(4, 64, 6, 5, dtype=dtype).requires_grad_(requires_grad)


@pytest.mark.parametrize("gamma", [Fraction(9, 10), Fraction(1, 2), Fraction(1, 1000), Fraction(1)])
@pytest.mark.parametrize("num_steps", [1, 30, 1000])
def test_every_step_is_undone_bit_by_bit(gamma, num_steps):
    x = torch.randn(50, dtype=torch.float64)
    state = FixedPointState(gamma, to_fixed(x))
    forces = torch.randn(num_steps, 50, dtype=torch.float64)
    positions = []
    for force in forces:
        positions.append((state.position, state.velocity))
        state.step(force)
    position, velocity, *remainders = state.packed()
    state = FixedPointState(gamma, position, velocity, remainders, num_steps)
    for force, (x, v) in zip(reversed(forces), reversed(positions), strict=True):
        state.undo_position()
        assert torch.equal(state.position, x)
        state.undo_velocity(force)
        assert torch.equal(state.velocity, v)
    assert not torch.stack(state.remainders).any()


def test_steps_are_those_of_floating_point():
    x, forces = torch.randn(50, dtype=torch.float64), torch.randn(40, 50, dtype=torch.float64)
    state, position, velocity = FixedPointState(Fraction(9, 10), to_fixed(x)), x, 0
    for force in forces:
        state.step(force)
        velocity = 0.9 * velocity + force
        position = position + velocity
    torch.testing.assert_close(state.read(torch.float64), position, rtol=0, atol=1e-7)
    assert state.read(torch.bfloat16).dtype == torch.bfloat16


def gradients(network, x, factor):
    y = network(x)
    return y, torch.autograd.grad((y * factor).sum(), [x, *network.parameters()])


@pytest.mark.parametrize("norm", ["batch", "group", "frozen"])
@pytest.mark.parametrize(
    ("block", "gamma"), [(BasicBlock, 0.9), (Bottleneck, 0.9), (BasicBlock, 0.5), (BasicBlock, 1 / 3)]
)
def test_gradients_are_those_of_plain_autograd(block, gamma, norm):
    exact = stage(9, block, gamma, norm=norm).double().train()
    plain = copy.deepcopy(exact)
    plain.invertible = False
    x = block_input()
    factor = torch.randn_like(plain(x))
    for network in (exact, plain):  # from the same statistics
        network.load_state_dict(exact.state_dict())
    (y, mine), (expected, theirs) = gradients(exact, x, factor), gradients(plain, x, factor)
    torch.testing.assert_close(y, expected, rtol=1e-7, atol=1e-7)
    for one, other in zip(mine, theirs, strict=True):
        assert other.norm() > 0
        assert (one - other).norm() < 1e-5 * other.norm()
    for (key, one), other in zip(exact.state_dict().items(), plain.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, msg=key)  # running statistics, updated once


def test_a_second_backward_pass_gives_the_same_gradients():
    network, x = stage(5).double().train(), block_input()
    y = network(x).square().sum()
    first = torch.autograd.grad(y, [x, *network.parameters()], retain_graph=True)
    second = torch.autograd.grad(y, [x, *network.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_stochastic_depth_drops_the_same_samples_in_both_runs():
    exact = stage(6, drop_path_rate=0.5).double().train()
    plain = copy.deepcopy(exact)
    plain.invertible = False
    assert exact.drop_rates == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    x, results = block_input(), []
    factor = torch.randn_like(exact[0](x))
    plain.load_state_dict(exact.state_dict())
    for network in (exact, plain):
        torch.manual_seed(1)
        results.append(gradients(network, x, factor)[1])
    for one, other in zip(*results, strict=True):
        assert (one - other).norm() <= 1e-5 * other.norm()
    network = exact.eval()
    assert torch.equal(network(x), network(x))


def test_training_in_bfloat16_follows_plain_autograd():
    exact = stage(4).train()
    plain = copy.deepcopy(exact)
    plain.invertible = False
    x = block_input(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        factor = torch.randn(4, 8, 6, 5)
        (y, mine), (expected, theirs) = gradients(exact, x, factor), gradients(plain, x, factor)
    assert y.dtype == expected.dtype
    torch.testing.assert_close(y, expected, rtol=0.02, atol=0.02)
    for one, other in zip(mine, theirs, strict=True):
        assert torch.nn.functional.cosine_similarity(one.flatten(), other.flatten(), dim=0) > 0.99


def test_inference_is_that_of_training_and_stores_no_integers():
    network = stage(7, norm="group").double()
    x = block_input()
    torch.testing.assert_close(network.train()(x), network.eval()(x), rtol=1e-8, atol=1e-8)
    with torch.no_grad():
        assert torch.equal(network.train()(x), network.eval()(x))


def saved_bytes(network, x):
    """Bytes that the backward pass needs of the forward pass, each storage once, without parameters."""
    storages, own = {}, {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}

    def keep(tensor):
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network(x)
    return sum(storage.nbytes() for address, storage in storages.items() if address not in own)


def test_memory_is_flat_in_depth():
    x = torch.randn(4, 64, 24, 24)
    few, many = (saved_bytes(stage(depth).train(), x) for depth in (4, 40))
    stored = [saved_bytes(stage(depth, invertible=False).train(), x) for depth in (4, 40)]
    values = 4 * 8 * 24 * 24
    # behind the first block: x, v, and remainders of which 0.15 bits are in use for each block
    assert many - few <= 2 * values  # an int8 has become an int16
    assert stored[1] - stored[0] > 36 * 4 * values * 4  # at least four float32 maps for each block


def test_without_momentum_it_is_the_resnet():
    options = {"gamma": 0, "invertible": False}
    plain = create_backbone("resnet18").eval()
    network = momentum_resnet(18, **options).eval()
    load_weights(network, plain.state_dict())
    images = torch.randn(1, 3, 65, 49)
    for name, x in network(images).items():
        torch.testing.assert_close(x, plain(images)[name], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["momentum_resnet50", "momentum_resnet20"])
def test_weights_of_the_resnet_load(name):
    with torch.device("meta"):
        ours, theirs = create_backbone(name), create_backbone(name.removeprefix("momentum_"))
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    assert ours.levels == theirs.levels


def test_a_whole_network_trains():
    network = create_backbone("momentum_resnet20").train()
    images, factor = torch.randn(8, 3, 16, 16), torch.randn(8, 64, 4, 4)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    losses = []
    for _ in range(12):
        loss = (network(images)["C4"] - factor).square().mean()
        optimizer.zero_grad()
        loss.backward()
        assert all(parameter.grad is not None for parameter in network.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.97 * losses[0]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2 * LIMIT])
def test_what_fixed_point_cannot_hold_becomes_nan(value):
    network = stage(3, norm="frozen").train()
    x = torch.randn(2, 64, 4, 4, requires_grad=True)
    assert network(x).isfinite().all()
    network[2].bn2.bias[0] = value
    assert network(x).isnan().any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: stage(2, gamma=1), "gamma is 1; expected a fraction from 0 to below 1"),
        (lambda: stage(2, gamma=0.12345678), r"denominator of at most 1000"),
        (lambda: stage(2, gamma=0), "gamma is 0, with which a step cannot be undone"),
        (lambda: create_backbone("momentum_resnet18", checkpointing=True), "stores no activations of its blocks"),
        (lambda: momentum_resnet(19), "depth is 19; choose 18, 20, 32"),
    ],
)
def test_invalid_networks_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


class Branch(nn.Module):
    """f of a block, as the authors' package takes it."""

    def __init__(self, block):
        super().__init__()
        self.block = block

    def forward(self, x):
        return self.block(x) - x


@pytest.mark.parametrize("gamma", [0.9, 0.5])
def test_outputs_and_gradients_are_those_of_the_authors_package(gamma):
    momentumnet = pytest.importorskip("momentumnet")
    network = stage(6, gamma=gamma, norm="group").double().train()
    peer = momentumnet.MomentumNet([Branch(block) for block in network[1:]], gamma=gamma, use_backprop=True)
    x = block_input()
    mine, factor = network(x), torch.randn(4, 8, 6, 5, dtype=torch.float64)
    theirs = peer(network[0](x))
    torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-8)
    weights = [x, *network.parameters()]
    for one, other in zip(*(torch.autograd.grad((y * factor).sum(), weights) for y in (mine, theirs)), strict=True):
        assert (one - other).norm() < 1e-5 * other.norm()

import pytest
import torch

from vertebra.backbones.ode import Solver
from vertebra.backbones.odenet import odenet
from vertebra.tools.analyses.alignment import measure_alignment
from vertebra.tools.analyses.depth_flow import measure_steps, refine
from vertebra.tools.analyses.information import pooled_layers
from vertebra.tools.analyses.measures.continuous_depth import run_blocks
from vertebra.tools.analyses.networks.residual_branches import branch_inputs, residual_branches
from vertebra.tools.analyses.networks.unrolled import unrolled_blocks
from vertebra.tools.analyses.signal import trace

IMAGES = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def network():
    torch.manual_seed(0)
    return odenet(20).eval()


def states_of(network):
    """States of the first stage: its input, and the output of each residual block that the equation replaces."""
    states = [network.stem(IMAGES), network.layer1[0](network.stem(IMAGES))]
    for _ in range(2):
        states.append(network.layer1[1](states[-1]))
    return states


def test_each_step_of_an_ode_stage_is_a_block_at_its_own_state(network):
    blocks = unrolled_blocks(network)
    assert [block.name for block in blocks] == [f"layer{stage}.{i}" for stage in (1, 2, 3) for i in range(3)]
    assert blocks[1].module is blocks[2].module is network.layer1[1]
    branches = residual_branches(network)
    inputs = branch_inputs(network, branches, IMAGES)
    with torch.no_grad():
        for branch, x, before, after in zip(branches, inputs, states_of(network), states_of(network)[1:], strict=False):
            torch.testing.assert_close(x, before)
            torch.testing.assert_close(branch(x), after - before)  # f(x) = block(x) - x
    layers = pooled_layers(network, [IMAGES, IMAGES])  # in every pass from the first step on
    torch.testing.assert_close(layers["layer1.1"], states_of(network)[2].mean(dim=(2, 3)).repeat(2, 1))
    torch.testing.assert_close(layers["layer1.2"], states_of(network)[3].mean(dim=(2, 3)).repeat(2, 1))


@pytest.mark.parametrize("steps", [2, 3])
def test_refined_steps_are_those_of_a_finer_euler_method(network, steps):
    finer = odenet(20, solver=Solver(steps=steps)).eval()
    finer.load_state_dict(network.state_dict())
    branches = [branch for branch in residual_branches(network) if branch.stage == "layer2"][1:]
    with torch.no_grad():
        x = finer.layer1(finer.stem(IMAGES))
        expected = finer.layer2(x)
        torch.testing.assert_close(run_blocks(branches, finer.layer2[0](x), steps), expected)


def test_an_ode_net_is_a_flow_of_first_order_and_its_steps_have_jacobians(network):
    for stage in (network.layer1, network.layer2, network.layer3):
        stage[1].last_layer.weight.data *= 0.1
    images = IMAGES[:1, :, :8, :8]
    assert [step.branch.name for step in measure_steps(network, images)][-2:] == ["layer3.1", "layer3.2"]
    found = refine(network, images, points=1)
    assert found.stages["layer3"][3] < 0.3 * found.stages["layer3"][1]  # of four times as many steps
    assert [one.names for one in measure_alignment(network, images, k=1)][1:] == [
        [f"layer{stage}.{i}" for i in (1, 2)] for stage in (2, 3)
    ]


def test_activations_and_gradients_are_those_of_each_step(network):
    states: list[torch.Tensor] = []

    def loss():
        states[:] = [network.layer1[0](network.stem(IMAGES))]
        for _ in range(2):
            states.append(network.layer1[1](states[-1]))
        x = network.layer3(network.layer2(states[-1]))
        for state in states:
            state.retain_grad()
        return x.square().mean()

    blocks = unrolled_blocks(network)
    readings = trace(blocks, loss)
    assert [one.name for one in blocks[:3]] == ["layer1.0", "layer1.1", "layer1.2"]
    for reading, state in zip(readings[1:4], states, strict=True):
        assert reading.norm == pytest.approx(float(state.detach().double().norm()) / 2**0.5)
        assert reading.gradient_norm == pytest.approx(float(state.grad.double().norm()), rel=1e-4)


def test_evaluations_of_other_solvers_are_no_blocks():
    with pytest.raises(ValueError, match=r"layer1 is solved by euler \(steps=2, adjoint=False\), whose evaluations"):
        unrolled_blocks(odenet(20, solver=Solver(steps=2)))

from functools import partial

import pytest
import torch
from jsonargparse import ArgumentParser
from torch import nn
from torch.profiler import ProfilerActivity, profile

from vertebra.tasks.training.memory_order import step_in_memory_order

OPTIMIZERS = {
    "AdamW": partial(torch.optim.AdamW, lr=0.1, weight_decay=0.05),
    "AMSGrad": partial(torch.optim.Adam, lr=0.1, amsgrad=True),
    "SGD": partial(torch.optim.SGD, lr=0.1, momentum=0.9),
}


def copies_in(optimizer):
    """Count the tensors that a step copies."""
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        optimizer.step()
    return sum(event.name == "aten::clone" for event in recorded.events())


def make_network():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(8, 16, 3), nn.Conv2d(8, 8, 1), nn.Conv3d(4, 6, 3), nn.Linear(5, 3))
    for weight in network.parameters():
        inner = {4: torch.channels_last, 5: torch.channels_last_3d}.get(weight.dim(), torch.contiguous_format)
        weight.data = weight.data.to(memory_format=inner)
    return network


def set_gradients(network, seed):
    torch.manual_seed(seed)
    for weight in network.parameters():
        weight.grad = torch.randn_like(weight)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("closure", [False, True])
def test_weights_and_states_equal_those_of_the_optimizer_itself(name, closure):
    plain, ours = make_network(), make_network()
    expected = OPTIMIZERS[name](plain.parameters(), fused=True)
    optimizer = step_in_memory_order(OPTIMIZERS[name](ours.parameters(), fused=True))
    assert type(optimizer).__name__ == type(expected).__name__
    for step in range(3):
        if step == 2:  # as in a resumed run
            state = optimizer.state_dict()
            optimizer = step_in_memory_order(OPTIMIZERS[name](ours.parameters(), fused=True))
            optimizer.load_state_dict(state)
        set_gradients(plain, step)
        expected.step()
        if closure:
            assert optimizer.step(lambda seed=step: set_gradients(ours, seed) or 7.0) == 7.0
        else:
            set_gradients(ours, step)
            optimizer.step()
    for weight, other in zip(ours.parameters(), plain.parameters(), strict=True):
        assert torch.equal(weight, other)
        assert weight.stride() == other.stride() == weight.grad.stride()
    found, wanted = (list(states.state_dict()["state"].values()) for states in (optimizer, expected))
    for state, other in zip(found, wanted, strict=True):
        assert state.keys() == other.keys()
        assert all(torch.equal(state[key], other[key]) for key in other)
        assert all(state[key].stride() == other[key].stride() for key in other)


def test_no_weight_is_copied():
    counts = []
    for wrap in (lambda optimizer: optimizer, step_in_memory_order):
        network = make_network()
        optimizer = wrap(OPTIMIZERS["AdamW"](network.parameters(), fused=True))
        set_gradients(network, 0)
        optimizer.step()
        counts.append(copies_in(optimizer))
    assert counts == [2, 0]  # of the 3x3 and the 3x3x3 kernel: a 1x1 kernel is contiguous in either format


def test_a_later_run_of_the_process_finds_the_optimizer_by_its_name():
    optimizer = step_in_memory_order(torch.optim.AdamW(make_network().parameters(), fused=True))
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(torch.optim.Optimizer, "optimizer", skip={"params"})
    found = parser.parse_args(["--optimizer", "AdamW"]).optimizer.class_path
    assert found == f"torch.optim.{type(optimizer).__name__}"


def test_other_optimizers_are_left_alone():
    weight = nn.Parameter(torch.tensor([3.0]))
    optimizer = step_in_memory_order(torch.optim.LBFGS([weight]))

    def closure():
        optimizer.zero_grad()
        loss = (weight - 1).square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    torch.testing.assert_close(weight.detach(), torch.ones(1))


def test_layouts_are_restored_where_a_step_fails():
    network = make_network()
    optimizer = step_in_memory_order(torch.optim.AdamW(network.parameters(), fused=True))
    set_gradients(network, 0)
    optimizer.step()
    for state in optimizer.state.values():
        state["step"] = "one"
    with pytest.raises((TypeError, RuntimeError)):
        optimizer.step()
    assert network[0].weight.shape == network[0].weight.grad.shape == (16, 8, 3, 3)
    assert optimizer.state[network[0].weight]["exp_avg"].shape == (16, 8, 3, 3)

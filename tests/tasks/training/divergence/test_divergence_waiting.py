"""Watching a training step costs no wait of the host; seen on fake tensors of a GPU, where reading one is an error."""

from functools import partial

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from vertebra.tasks.training.divergence.watch import Watch, WatchedBatch
from vertebra.tasks.training.saving.rollback import Rollback, can_skip_step

OPTIMIZERS = {
    "fused": partial(torch.optim.AdamW, lr=0.1, fused=True),
    "plain": partial(torch.optim.SGD, lr=0.1, momentum=0.9),
}


@pytest.fixture(autouse=True)
def fake():
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield


def step(network, optimizer, watch, skips):
    """Take a step as `DivergenceGuard` does."""
    rollback = Rollback(network, optimizer, not can_skip_step(optimizer)) if skips else None
    watch.begin(WatchedBatch(0, 0, 0, ["a.png"]))
    loss = network(torch.zeros(2, 3, 8, 8, device="cuda")).square().mean()
    for parameter in network.parameters():  # backward wants a real device
        parameter.grad = torch.zeros_like(parameter)
    watch.add({"train/cls": loss, "train/box": loss})
    watch.add_gradient(optimizer)
    if can_skip_step(optimizer):
        optimizer.found_inf = watch.bad.float()
    optimizer.step()
    if rollback is not None:
        rollback.undo(watch.bad)
        watch.end_step()


@pytest.mark.parametrize("name", list(OPTIMIZERS))
@pytest.mark.parametrize("skips", [False, True])
def test_no_step_synchronizes(name, skips, on_a_gpu, blocking_copies):
    network = on_a_gpu(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)))
    optimizer = OPTIMIZERS[name](network.parameters())
    watch = Watch(torch.device("cuda"), skips)
    with blocking_copies() as copies:
        for _ in range(3):
            step(network, optimizer, watch, skips)
    assert copies.count == 0
    assert len(watch) == 3
    with pytest.raises(DataDependentOutputException), blocking_copies():
        watch.read()


def test_synchronization_is_detected(blocking_copies):
    with blocking_copies() as copies:
        torch.zeros(3, device="cuda").cpu()
        torch.ones(2).to("cuda")
    assert copies.count == 2
    with pytest.raises(DataDependentOutputException):
        bool(torch.zeros((), device="cuda").isfinite())

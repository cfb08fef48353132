"""Watching a training step costs no wait of the host; seen on fake tensors of a GPU, where reading one is an error."""

from functools import partial

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tasks.rollback import Rollback, leaves_out
from tasks.watch import Watch, WatchedBatch

OPTIMIZERS = {
    "fused": partial(torch.optim.AdamW, lr=0.1, fused=True),
    "plain": partial(torch.optim.SGD, lr=0.1, momentum=0.9),
}


class Copies(TorchDispatchMode):
    """Counts copies between host and device, in either direction: the host waits for each."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        given, made = (
            {leaf.device.type for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)}
            for tree in (args, result)
        )
        self.count += bool(given and made) and given != made
        return result


@pytest.fixture(autouse=True)
def fake():
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield


def network_on_a_gpu():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    for module in network:
        for name, parameter in module.named_parameters(recurse=False):
            setattr(module, name, nn.Parameter(torch.empty(parameter.shape, device="cuda")))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, torch.empty(buffer.shape, dtype=buffer.dtype, device="cuda"))
    return network


def step(network, optimizer, watch, skips):
    """Take a step as `DivergenceGuard` does."""
    rollback = Rollback(network, optimizer, not leaves_out(optimizer)) if skips else None
    watch.begin(WatchedBatch(0, 0, 0, ["a.png"]))
    loss = network(torch.zeros(2, 3, 8, 8, device="cuda")).square().mean()
    for parameter in network.parameters():  # backward wants a real device
        parameter.grad = torch.zeros_like(parameter)
    watch.add({"train/cls": loss, "train/box": loss})
    watch.add_gradient(optimizer)
    if leaves_out(optimizer):
        optimizer.found_inf = watch.bad.float()
    optimizer.step()
    if rollback is not None:
        rollback.undo(watch.bad)
        watch.end_step()


@pytest.mark.parametrize("name", list(OPTIMIZERS))
@pytest.mark.parametrize("skips", [False, True])
def test_no_step_waits(name, skips):
    network = network_on_a_gpu()
    optimizer = OPTIMIZERS[name](network.parameters())
    watch = Watch(torch.device("cuda"), skips)
    with Copies() as copies:
        for _ in range(3):
            step(network, optimizer, watch, skips)
    assert copies.count == 0
    assert len(watch) == 3
    with pytest.raises(DataDependentOutputException), Copies() as copies:
        watch.read()


def test_what_would_wait_is_seen():
    with Copies() as copies:
        torch.zeros(3, device="cuda").cpu()
        torch.ones(2).to("cuda")
    assert copies.count == 2
    with pytest.raises(DataDependentOutputException):
        bool(torch.zeros((), device="cuda").isfinite())

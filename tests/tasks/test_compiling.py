import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

from backbones import BackboneOptions, ResNet
from backbones.blocks import BasicBlock
from tasks.compiling import compile_parts
from tasks.detection import faster_rcnn
from tasks.detection.matching import BalancedSampler

SIZES = ((64, 96), (96, 64), (96, 96))


@pytest.fixture(autouse=True)
def fresh():
    torch.manual_seed(0)
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def losses_of(detector, size):
    images = list(torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1)))
    target = {"boxes": torch.tensor([[10.0, 10.0, 60.0, 60.0]]), "labels": torch.tensor([1])}
    losses = detector(images, [target, target])
    torch.stack(list(losses.values())).sum().backward()
    return losses


def test_a_detector_says_the_same_and_is_compiled_no_more_after_an_epoch():
    bodies = [ResNet(BasicBlock, (1, 1, 1, 1), BackboneOptions(norm="frozen"), widths=(8, 8, 8, 8)) for _ in range(2)]
    plain, compiled = (faster_rcnn(body, 3, channels=16) for body in bodies)
    compiled.load_state_dict(plain.state_dict())
    for detector in (plain, compiled):  # chance has no part in it
        detector.rpn.sampler = detector.roi_heads.sampler = BalancedSampler(1_000_000, 0.5)
    names = compile_parts(compiled, backend="eager")
    assert all(isinstance(compiled.get_submodule(name), nn.Module) for name in names)
    assert set(compiled.state_dict()) == set(plain.state_dict())
    for size in SIZES:
        expected = losses_of(plain, size)
        for name, loss in losses_of(compiled, size).items():
            torch.testing.assert_close(loss, expected[name], rtol=1e-4, atol=1e-5)
    weight, other = plain.backbone.conv1.weight.grad, compiled.backbone.conv1.weight.grad
    torch.testing.assert_close(other, weight, rtol=1e-3, atol=1e-3 * weight.abs().max().item())
    graphs = counters["stats"]["unique_graphs"]
    assert graphs >= len(names)
    assert not counters["graph_break"]
    for size in SIZES:
        losses_of(compiled, size)
    assert counters["stats"]["unique_graphs"] == graphs


def test_a_network_that_names_no_parts_has_its_children_compiled():
    network = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    assert compile_parts(network, backend="eager") == ["0", "1"]
    network(torch.zeros(2, 4))
    assert counters["stats"]["unique_graphs"] == 2

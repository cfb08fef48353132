import copy

import pytest
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

from parity import randomize
from vertebra.backbones import create_backbone, frozen_norms
from vertebra.backbones.cpu_convolutions import Conv2d
from vertebra.backbones.frozen_norms import Chain
from vertebra.backbones.layers import FrozenBatchNorm

BATCH_NORMS = (nn.modules.batchnorm._BatchNorm, FrozenBatchNorm)
# name: number of norms that do not follow a convolution
NAMES = {
    "resnet18": 0,
    "resnet50d": 0,
    "resnetv2_18d": 9,
    "highway20": 0,
    "cspdarknet_s": 0,
    "r2plus1d_18": 0,
    "x3d_s": 0,
    "slowfast_r50": 0,
}


def apart(network):
    """A copy whose layers each run on their own, since they have hooks."""
    network = copy.deepcopy(network)
    for module in network.modules():
        module.register_forward_hook(lambda *_: None)
    return network


def images_for(body, size=(40, 33)):
    frames = () if isinstance(body.levels[0].reduction, int) else (4,)
    return torch.randn(2, 3, *frames, *size, dtype=torch.float64)


@pytest.fixture
def norms_run(monkeypatch):
    """The norms that run on their own."""
    norms, forward = [], FrozenBatchNorm.forward
    monkeypatch.setattr(FrozenBatchNorm, "forward", lambda self, x: norms.append(self) or forward(self, x))
    return norms


# SlowFast has the blocks of the others, twice, and R(2+1)D convolutions like those of 2-D networks and X3D
SLOW = ("slowfast_r50", "r2plus1d_18")


@pytest.mark.parametrize(
    ("name", "staying"),
    [pytest.param(*item, marks=pytest.mark.slow) if item[0] in SLOW else item for item in NAMES.items()],
)
def test_frozen_norms_in_convolutions_change_no_output_and_no_gradient(norms_run, monkeypatch, name, staying):
    monkeypatch.setattr(frozen_norms, "_pays", lambda *_: True)  # maps are tiny here
    torch.manual_seed(0)
    body = randomize(create_backbone(name, norm="frozen").double()).train()
    images = images_for(body)
    found = []
    for network in (body, apart(body)):
        norms_run.clear()
        torch.manual_seed(0)
        features = network(images)
        torch.stack([(x * torch.randn_like(x)).mean() for x in features.values()]).sum().backward()
        found.append((features, [p.grad for p in network.parameters()], len(norms_run)))
    (features, gradients, count), (expected, expected_gradients, all_norms) = found
    assert (count, all_norms) == (staying, sum(isinstance(module, FrozenBatchNorm) for module in body.modules()))
    assert gradients
    torch.testing.assert_close(features, expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(gradients, expected_gradients, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("height", "alone"), [(5, 1), (6, 0)])
def test_a_kernel_larger_than_the_map_is_not_scaled(norms_run, height, alone):
    layers = Chain(Conv2d(5, 2, 3, stride=2, padding=1), FrozenBatchNorm(2))  # 45 weights for each output channel
    layers(torch.randn(4, 5, height, 8)).sum().backward()
    assert len(norms_run) == alone


def test_inference_is_the_same_bit_by_bit():
    torch.manual_seed(0)
    body = randomize(create_backbone("resnet18", norm="frozen")).train()
    images = torch.randn(1, 3, 33, 49)
    with torch.no_grad():
        assert torch.equal(body(images)["C5"], apart(body)(images)["C5"])


def test_batch_norms_are_constant_while_they_are_frozen_in_evaluation_mode():
    torch.manual_seed(0)
    layers = randomize(Chain(Conv2d(3, 4, 3, bias=True), nn.BatchNorm2d(4))).double().train()
    images = torch.randn(2, 3, 9, 9, dtype=torch.float64)
    norm = layers[1].eval()

    def operations():
        names, nodes = set(), [layers(images).grad_fn]
        while nodes:
            node = nodes.pop()
            names.add(node.name())
            nodes += [parent for parent, _ in node.next_functions if parent is not None]
        return names

    expected = layers(images)
    assert any("BatchNorm" in name for name in operations())  # its weights are trained
    norm.requires_grad_(False)
    assert not any("BatchNorm" in name for name in operations())
    torch.testing.assert_close(layers(images), expected, rtol=1e-12, atol=1e-12)
    norm.train()
    assert any("BatchNorm" in name for name in operations())
    assert norm.num_batches_tracked == 1


def test_a_norm_without_weights_and_a_bias_that_is_trained():
    torch.manual_seed(0)
    layers = Chain(Conv2d(3, 4, 3, bias=True), nn.BatchNorm2d(4, affine=False)).double().eval()
    layers[1].running_mean.normal_()
    layers[1].running_var.uniform_(0.5, 2)
    images, twin = torch.randn(2, 3, 9, 9, dtype=torch.float64), apart(layers)
    for network in (layers, twin):
        network(images).square().sum().backward()
    torch.testing.assert_close(layers[0].bias.grad, twin[0].bias.grad, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(layers[0].weight.grad, twin[0].weight.grad, rtol=1e-10, atol=1e-12)


def kept_bytes(function):
    """Bytes of the distinct activations of one image that the backward pass of a function needs."""
    storages = {}

    def keep(x):
        if x.dim() > 1 and len(x) == 1:  # not a kernel, which has more output channels
            storages[x.untyped_storage().data_ptr()] = x.untyped_storage()  # alive, so that addresses differ
        return x

    with saved_tensors_hooks(keep, lambda x: x):
        result = function()
    return sum(storage.nbytes() for storage in storages.values()), result


@pytest.mark.parametrize("dim", [2, 3])
def test_nothing_is_kept_of_frozen_stages_and_of_frozen_norms(dim):
    torch.manual_seed(0)
    images = torch.randn(1, 3, *(8,) * (dim - 2), 64, 64)
    name = {2: "resnet18", 3: "resnet18_3d"}[dim]
    kept = {}
    for norm, stages in (("batch", 0), ("frozen", 0), ("frozen", 2), ("frozen", 5)):
        body = create_backbone(name, norm=norm, frozen_stages=stages, in_channels=3).train()
        kept[norm, stages], features = kept_bytes(lambda body=body: body(images))
        assert features["C2"].requires_grad == (stages < 2)
    assert kept["frozen", 5] == 0
    assert kept["frozen", 2] < 0.6 * kept["frozen", 0]
    assert kept["frozen", 0] < 0.6 * kept["batch", 0]

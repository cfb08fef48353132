"""Weight gradients of every layer in a bf16 training step, against float64 from the same inputs.

Gradients of whole networks cannot be compared between precisions: rounding grows from layer to layer, and ReLUs flip.
So each layer is compared alone, with its input and upstream gradient of the step.
"""

import copy
from fnmatch import fnmatch

import pytest
import torch
from torch import nn

from vertebra.backbones import create_backbone, list_backbones

# A gradient in bf16 is off by 0.0017 of its norm where only the result is rounded; norms and sums over many pixels
# of one sign round a few times more. A wrong one is off by its norm.
BOUND = 0.03
LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.Conv3d, nn.Linear)

VIDEO = ("*3d_18", "mc3_18", "r2plus1d_*", "i3d_*", "c2d_*", "slow*", "csn_*", "x3d_*", "*_3d")
OF_CLIPS = [name for name in list_backbones() if any(fnmatch(name, pattern) for pattern in VIDEO)]
OF_IMAGES = [
    "resnet18",
    "resnet50d",
    "seresnext26t_32x4d",
    "resnetv2_18",
    "resnet20",
    "highway20",
    "vit_tiny_patch16_224",
    "momentum_resnet20",
    "odenet20",
]
QUICK = {"resnet10_3d", "resnet18s_3d", "resnet18", "resnet20"}


def steps(network, images):
    """Take a training step in bf16, and return the input, the upstream gradient and the layer of each call."""
    calls = []

    def hook(layer, inputs, output):
        if not output.requires_grad:  # the first of two runs, from which nothing is stored
            return
        call = [layer, inputs[0].detach().clone(), None]
        calls.append(call)
        output.register_hook(lambda gradient: call.__setitem__(2, gradient.detach().clone()))

    handles = [m.register_forward_hook(hook) for m in network.modules() if isinstance(m, LAYERS)]
    with torch.autocast("cpu", torch.bfloat16):
        features = network(images)
    torch.stack([(x.float() * torch.randn_like(x.float())).sum() for x in features.values()]).sum().backward()
    for handle in handles:
        handle.remove()
    return calls


def assert_gradients_are_right(name, size):
    torch.manual_seed(0)
    network = create_backbone(name).train()
    # of four samples: batch norms over two values make the gradients of 200 layers overflow in float32, too
    calls = steps(network, torch.randn(4, 3, *size))
    assert calls
    names = {module: key for key, module in network.named_modules()}
    expected: dict[nn.Module, torch.Tensor] = {}
    for layer, x, upstream in calls:
        if upstream is None:  # of a level that is not in out_levels
            continue
        reference = copy.deepcopy(layer).double()
        reference.weight = nn.Parameter(layer.weight.detach().bfloat16().double())
        reference(x.bfloat16().double()).backward(upstream.double())
        expected[layer] = expected.get(layer, 0) + reference.weight.grad
    wrong = {}
    for layer, gradient in expected.items():
        error = (layer.weight.grad.double() - gradient).norm()
        if not error <= BOUND * gradient.norm() + 1e-12:
            wrong[names[layer]] = (error / gradient.norm()).item()
    assert wrong == {}


def cases(names, *sizes):
    return [
        pytest.param(name, size, marks=() if name in QUICK and size == sizes[0] else pytest.mark.slow)
        for name in names
        for size in sizes
    ]


@pytest.mark.parametrize(("name", "size"), cases(OF_CLIPS, (16, 16, 16), (8, 33, 33), (5, 40, 33)))
def test_networks_of_clips_and_volumes(name, size):
    assert_gradients_are_right(name, size)


@pytest.mark.parametrize(
    ("name", "size"), [*cases(OF_IMAGES, (33, 16), (64, 64)), *cases(["densenet121"], (33, 32), (64, 64))]
)
def test_networks_of_images(name, size):
    assert_gradients_are_right(name, size)

import copy

import pytest
import torch
from torch import nn

from parity import randomize
from vertebra.backbones import create_backbone
from vertebra.backbones.weight_precision import round_weights


@pytest.mark.parametrize("name", ["resnet18", "resnetv2_18d", "vit_tiny_patch16_224", "x3d_s"])
def test_outputs_under_autocast_stay_the_same_to_the_last_bit(name):
    torch.manual_seed(0)
    body = randomize(create_backbone(name)).eval()
    frames = () if isinstance(body.levels[0].reduction, int) else (4,)
    images, rounded = torch.randn(2, 3, *frames, 32, 48), copy.deepcopy(body)
    round_weights(rounded, "bf16-mixed")
    weights = {x.dtype for module in rounded.modules() if isinstance(module, nn.Conv2d) for x in module.parameters()}
    assert weights <= {torch.bfloat16}
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found, expected = rounded(images), body(images)
    for level, x in expected.items():
        assert torch.equal(found[level], x), level


def test_layers_that_autocast_leaves_alone_and_full_precision_stay():
    layers = nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(4, 2))
    round_weights(layers, "32-true")
    assert {x.dtype for x in layers.parameters()} == {torch.float32}
    layers[0].weight.requires_grad_(False)
    round_weights(layers, "16-mixed")
    assert [x.dtype for x in layers.parameters()] == [torch.float16] * 2 + [torch.float32] * 2 + [torch.float16] * 2
    assert [x.requires_grad for x in layers.parameters()] == [False] + [True] * 5

"""Blocks of networks of every family, in the order of depth, and their residual branches."""

import pytest
import torch
from torch import nn

from vertebra.backbones import create_backbone
from vertebra.tools.analyses.networks.blocks import blocks_of, hooked, without_branches


@pytest.mark.parametrize(
    ("name", "number", "stages", "residual"),
    [
        ("resnet50", 16, 4, True),
        ("resnet20", 9, 3, True),
        ("plain20", 9, 3, False),
        ("highway20", 18, 3, False),
        ("seresnet18", 8, 4, True),
        ("resnetv2_50", 16, 4, True),
        ("x3d_s", 26, 4, True),
        ("r3d_18", 8, 4, True),
        ("tsn:resnet18", 8, 4, True),
        ("timm:resnet18", 8, 4, True),
        ("timm:convnext_atto", 12, 4, False),
        ("densenet121", 58, 4, False),
        ("timm:vgg11_bn", 8, 1, False),
        ("vit_tiny_patch16_224", 12, 1, False),
    ],
)
def test_blocks_are_found_in_order(name, number, stages, residual):
    with torch.device("meta"):
        found = blocks_of(create_backbone(name))
    assert len(found) == number
    assert len({block.stage for block in found}) == stages
    assert all((block.branch_end is not None) == residual for block in found)


@pytest.mark.parametrize("name", ["resnet20", "resnet18", "seresnet18", "resnetv2_18", "resnet26d", "timm:test_resnet"])
def test_a_block_without_its_branch_is_its_shortcut(name):
    torch.manual_seed(0)
    network = create_backbone(name).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # timm's last one in a block starts at zero
            nn.init.uniform_(module.weight, 0.5, 1.5)
    for block in blocks_of(network):
        x = torch.randn(2, in_channels(block.module), 8, 8).relu()
        with torch.no_grad(), hooked(without_branches([block])):
            without = block.module(x.clone())
        expected = x
        if block.module.downsample is not None:
            activated = block.module.bn1(x).relu() if name.startswith("resnetv2") else x
            expected = block.module.downsample(activated).detach()
        expected = expected if name.startswith("resnetv2") else expected.relu()
        torch.testing.assert_close(without, expected)
        assert not torch.allclose(block.module(x.clone()), expected)


def in_channels(block: nn.Module) -> int:
    return next(module.in_channels for module in block.modules() if isinstance(module, nn.Conv2d))


def test_a_network_without_weights_has_no_blocks():
    with pytest.raises(ValueError, match="Sequential has no layer with weights"):
        blocks_of(nn.Sequential(nn.ReLU()))

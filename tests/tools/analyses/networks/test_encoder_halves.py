"""Transformer blocks as two residual blocks each."""

import copy

import torch
from timm.models.vision_transformer import VisionTransformer

from vertebra.backbones import BackboneOptions, create_backbone
from vertebra.backbones.vit import ViT
from vertebra.tools.analyses.networks.blocks import blocks_of, hooked, without_branches
from vertebra.tools.analyses.networks.encoder_halves import in_halves
from vertebra.tools.analyses.networks.residual_branches import residual_branches


def test_halves_are_the_block():
    torch.manual_seed(0)
    network = ViT(BackboneOptions(drop_path_rate=0.1), width=8, depth=3, num_heads=2, patch=8, size=16).eval()
    halves = in_halves(copy.deepcopy(network))
    images = torch.randn(2, 3, 16, 24)
    for level, expected in network(images).items():
        assert torch.equal(halves(images)[level], expected)
    blocks = blocks_of(halves)
    assert [block.name for block in blocks] == [f"blocks.{i}.{half}" for i in range(3) for half in ("attn", "mlp")]
    assert {block.stage for block in blocks} == {"blocks"}
    x = torch.randn(2, 5, 8)
    last = network.blocks[2]
    with hooked(without_branches(blocks[4:5])):  # without the attention
        without = halves.blocks[2](x)
    torch.testing.assert_close(without, x + last.mlp(last.norm2(x)))
    with hooked(without_branches(blocks[5:])):  # without the MLP
        without = halves.blocks[2](x)
    torch.testing.assert_close(without, x + last.attn(last.norm1(x)))
    assert not any(half.training for half in halves.modules())


def test_blocks_of_timm_have_their_layer_scale_in_the_branch():
    torch.manual_seed(0)
    network = VisionTransformer(16, 8, embed_dim=8, depth=2, num_heads=2, init_values=0.5, num_classes=0).eval()
    halves = in_halves(copy.deepcopy(network))
    images = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(halves(images), network(images))
    branches = residual_branches(halves)
    assert [branch.name for branch in branches] == [f"blocks.{i}.{half}" for i in range(2) for half in ("attn", "mlp")]
    x, block = torch.randn(2, 5, 8), network.blocks[1]
    torch.testing.assert_close(branches[2](x), 0.5 * block.attn(block.norm1(x)))
    torch.testing.assert_close(branches[3](x), 0.5 * block.mlp(block.norm2(x)))


def test_other_networks_stay_as_they_are():
    network = create_backbone("resnet20")
    names = [name for name, _ in network.named_modules()]
    assert [name for name, _ in in_halves(network).named_modules()] == names

"""Transformer blocks as two residual blocks each."""

import copy

import torch

from vertebra.backbones import BackboneOptions, create_backbone
from vertebra.backbones.vit import ViT
from vertebra.tools.analyses.networks.blocks import blocks_of, hooked, without_branches
from vertebra.tools.analyses.networks.encoder_halves import in_halves


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


def test_other_networks_stay_as_they_are():
    network = create_backbone("resnet20")
    names = [name for name, _ in network.named_modules()]
    assert [name for name, _ in in_halves(network).named_modules()] == names

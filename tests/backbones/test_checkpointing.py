import copy

import pytest
import torch

from vertebra.backbones import BackboneOptions, ResNet
from vertebra.backbones.blocks import BasicBlock, Bottleneck


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
def test_checkpointing_changes_neither_gradients_nor_statistics(block):
    torch.manual_seed(0)
    plain = ResNet(block, (2, 1, 1, 1), BackboneOptions(), widths=(8, 16, 24, 32)).train()
    sparing = ResNet(block, (2, 1, 1, 1), BackboneOptions(checkpointing=True), widths=(8, 16, 24, 32)).train()
    sparing.load_state_dict(copy.deepcopy(plain.state_dict()))
    images = torch.randn(4, 3, 49, 33)
    for network in (plain, sparing):
        sum(x.square().mean() for x in network(images).values()).backward()
    for key, value in plain.state_dict().items():
        assert torch.equal(value, sparing.state_dict()[key]), key
    for (key, mine), other in zip(sparing.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, msg=key)


def test_checkpointing_stores_less():
    def kept(checkpointing):
        network = ResNet(
            Bottleneck, (8, 1, 1, 1), BackboneOptions(checkpointing=checkpointing), widths=(8, 16, 24, 32)
        ).train()
        total = 0

        def count(tensor):
            nonlocal total
            total += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            network(torch.randn(1, 3, 64, 64))
        return total

    assert kept(True) < 0.5 * kept(False)  # the stem, which is not checkpointed, is most of what is left

import copy

import pytest
import torch

from vertebra.backbones import BackboneOptions, ResNet, create_backbone
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


def kept_of_resnet50(**options):
    """Bytes of the activations of one image that the backward pass of a ResNet-50 needs."""
    body = create_backbone("resnet50", **options).train()
    storages = {}

    def keep(x):
        if x.dim() > 1 and len(x) == 1:  # not a kernel
            storages[x.untyped_storage().data_ptr()] = x.untyped_storage()  # alive, so that addresses differ
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        body(torch.randn(1, 3, 96, 96))
    return sum(storage.nbytes() for storage in storages.values())


def test_the_first_stages_have_most_of_the_memory():
    whole = kept_of_resnet50()
    assert kept_of_resnet50(checkpointing=["C2"]) < 0.76 * whole
    assert kept_of_resnet50(checkpointing=["C2", "C3"]) < 0.57 * whole
    assert kept_of_resnet50(checkpointing=True) < 0.42 * whole


def test_nothing_is_stored_for_frozen_stages():
    options = {"norm": "frozen", "frozen_stages": 2}
    assert kept_of_resnet50(checkpointing=["C2"], **options) == kept_of_resnet50(**options)


def test_stages_are_chosen_by_their_maps():
    plain, chosen = (create_backbone(name, checkpointing=["C3"]) for name in ("resnet18", "slowfast_r50"))
    assert plain.checkpointing == ["layer2"]
    assert chosen.slow.checkpointing == chosen.fast.checkpointing == ["layer2"]
    assert create_backbone("resnet18", checkpointing=True).checkpointing == plain.stages
    with pytest.raises(ValueError, match=r"checkpointing is \['C7'\]; give true, false, or a list of these: C2, C3"):
        create_backbone("resnet18", checkpointing=["C7"])
    with pytest.raises(ValueError, match="checkpointing is 'C2'"):
        create_backbone("resnet18", checkpointing="C2")

import copy

import pytest
import torch
from torch import nn

from vertebra.backbones import BackboneOptions
from vertebra.backbones.slowfast import SlowFast

DEPTHS = (1, 1, 1, 1)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def tiny(**options):
    return SlowFast(DEPTHS, BackboneOptions(**options))


def clips(frames=8, **where):
    return torch.randn(2, 3, frames, 33, 33, **where)


@pytest.mark.parametrize("output_stride", [32, 16, 8])
@pytest.mark.parametrize("frames", [1, 7, 8, 9])
def test_levels_have_the_true_shapes(output_stride, frames):
    with torch.device("meta"):
        body = tiny(output_stride=output_stride, in_channels=2)
        features = body(torch.randn(2, 2, frames, 65, 49))
    reductions = [min(reduction, output_stride) for reduction in (4, 8, 16, 32)]
    assert [level.reduction for level in body.levels] == [(4, reduction, reduction) for reduction in reductions]
    for level in body.levels:
        size = tuple(-(-axis // r) for axis, r in zip((frames, 65, 49), level.reduction, strict=True))
        assert features[level.name].shape == (2, level.channels, *size)


@torch.no_grad()
def test_global_mean_equals_that_of_both_pathways():
    body = tiny().eval()
    fast = {}
    body.fast.layer4[-1].register_forward_hook(lambda module, inputs, output: fast.update(C5=output))
    mean = body(clips())["C5"].mean(dim=(2, 3, 4))
    torch.testing.assert_close(mean[:, 2048:], fast["C5"].mean(dim=(2, 3, 4)))


@torch.no_grad()
def test_lateral_connections_carry_skipped_frames():
    body, x = tiny().eval(), clips()
    changed = x.clone()
    changed[:, :, 2] += 1  # a frame that the slow path skips
    slow = [body(x)["C2"][:, :256], body(changed)["C2"][:, :256]]
    assert not torch.equal(*slow)
    for fusion in body.fusions:
        fusion[0].weight.zero_()
    slow = [body(x)["C2"][:, :256], body(changed)["C2"][:, :256]]
    assert torch.equal(*slow)


@torch.no_grad()
def test_a_batch_equals_its_single_clips():
    body, x = tiny().eval(), clips()
    together = body(x)
    for index in range(2):
        for name, single in body(x[index : index + 1]).items():
            torch.testing.assert_close(together[name][index], single[0], rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_out_levels_select_maps():
    whole, part = tiny().eval(), tiny(out_levels=("C3",)).eval()
    part.load_state_dict(whole.state_dict())
    x = clips()
    features = part(x)
    assert list(features) == ["C3"] == [level.name for level in part.levels]
    assert torch.equal(features["C3"], whole(x)["C3"])


@pytest.mark.parametrize("frozen_stages", [0, 1, 2, 5])
def test_frozen_stages_include_both_pathways_and_lateral_connections(frozen_stages):
    body = tiny(frozen_stages=frozen_stages).train()
    parts = ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4")[: frozen_stages + 1] if frozen_stages else ()
    before = {key: value.clone() for key, value in body.state_dict().items()}
    features = body(clips() + 2)
    if frozen_stages < 5:
        features["C5"].sum().backward()
    for key, value in before.items():
        path, part = key.split(".")[:2]
        frozen = int(part) < frozen_stages if path == "fusions" else part in parts
        if "running_" in key:
            assert torch.equal(body.state_dict()[key], value) == frozen, key
        elif key in dict(body.named_parameters()):
            assert (body.get_parameter(key).grad is None) == frozen, key


def test_checkpointing_changes_no_gradient():
    plain, saving, x = tiny().train(), tiny(checkpointing=True).train(), clips()
    saving.load_state_dict(plain.state_dict())
    for body in (plain, saving):
        body(x)["C5"].square().mean().backward()
    for (key, ours), theirs in zip(saving.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-5, msg=key)


def test_contiguous_narrow_norms_change_no_values():
    """Before narrow norms of the fast pathway maps are made contiguous on a CPU; features are unchanged."""
    body, x = tiny().train().double(), clips(dtype=torch.float64)
    plain = copy.deepcopy(body)
    hooked = [module for module in plain.modules() if module._forward_pre_hooks]
    assert hooked
    assert all(isinstance(module, nn.BatchNorm3d) and module.num_features < 16 for module in hooked)
    seen = []
    body.fast.bn1.register_forward_pre_hook(lambda norm, inputs: seen.append(inputs[0].is_contiguous()))
    for module in hooked:
        module._forward_pre_hooks.clear()
    for network in (body, plain):
        network.to(memory_format=torch.channels_last_3d)
    x = x.contiguous(memory_format=torch.channels_last_3d)
    found, expected = body(x)["C5"], plain(x)["C5"]
    assert seen == [True]
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=1e-9)
    for output in (found, expected):
        output.square().mean().backward()
    for ours, theirs in zip(body.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-9, rtol=1e-7)

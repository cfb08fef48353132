import copy

import pytest
import torch

from vertebra.backbones import BackboneOptions, Level, ResNet, create_backbone, load_weights
from vertebra.backbones.blocks import BasicBlock, Bottleneck
from vertebra.backbones.temporal import TSM, TSN, shift_channels

FRAMES = 5


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def tiny(block=BasicBlock, **options):
    return ResNet(block, (2, 1, 1), BackboneOptions(**options), widths=(16, 16, 24), strides=(1, 2, 2))


def clips():
    return torch.randn(2, 3, FRAMES, 33, 49)


def test_tsn_processes_frames_independently():
    body = tiny().eval()
    network = TSN(body).eval()
    batch = clips()
    features = network(batch)
    assert network.levels == (Level("C2", 16, (1, 4, 4)), Level("C3", 16, (1, 8, 8)), Level("C4", 24, (1, 16, 16)))
    assert [tuple(x.shape) for x in features.values()] == [(2, 16, 5, 9, 13), (2, 16, 5, 5, 7), (2, 24, 5, 3, 4)]
    for t in range(FRAMES):
        for name, x in body(batch[:, :, t]).items():
            torch.testing.assert_close(features[name][:, :, t], x, rtol=1e-5, atol=1e-5)


def written_out(block, x, fold):
    """A TSM block for one clip (T, C, H, W), written out frame by frame and channel by channel."""
    shifted = torch.zeros_like(x)
    for t in range(len(x)):
        for c in range(x.shape[1]):
            source = t + 1 if c < fold else t - 1 if c < 2 * fold else t
            if 0 <= source < len(x):
                shifted[t, c] = x[source, c]
    y = block.relu(block.bn1(block.conv1(shifted)))
    y = block.bn2(block.conv2(y))
    return torch.relu(y + (x if block.downsample is None else block.downsample(x)))


def test_shift_by_the_formula():
    body = tiny().eval()
    reference = copy.deepcopy(body)
    batch = clips()
    with torch.no_grad():
        found = TSM(body).eval()(batch)
        for n in range(2):
            x = reference.maxpool(reference.relu(reference.bn1(reference.conv1(batch[n].transpose(0, 1)))))
            for stage, name in zip(reference.stages, ("C2", "C3", "C4"), strict=True):
                for block in reference.get_submodule(stage):
                    x = written_out(block, x, fold=x.shape[1] // 8)
                torch.testing.assert_close(found[name][n].transpose(0, 1), x, rtol=1e-4, atol=1e-5)


def test_bottlenecks_shift_ahead_of_their_first_convolution():
    body = tiny(Bottleneck).eval()
    block, seen = body.layer1[1], []
    network = TSM(body)
    block.conv1.register_forward_hook(lambda module, args, out: seen.append(args[0]))
    block.register_forward_hook(lambda module, args, out: seen.append(args[0]))
    with torch.no_grad():
        network(clips())
    inside, outside = seen
    assert outside.shape[1] == 64
    assert torch.equal(inside, shift_channels(outside, FRAMES, 8))


def test_zero_shift_equals_tsn_without_hooks():
    body = tiny().eval()
    batch = clips()
    network = TSM(body, shift=0)
    assert not any(module._forward_pre_hooks for module in network.modules())
    with torch.no_grad():
        expected = TSN(body)(batch)
        assert all(torch.equal(x, expected[name]) for name, x in network(batch).items())
    with pytest.raises(ValueError, match=r"shift is 0\.6; .*from 0 to 0\.5"):
        TSM(body, shift=0.6)


def test_each_block_extends_the_receptive_field_by_one_frame():
    network = TSM(tiny().eval()).eval()
    batch = clips()
    with torch.no_grad():
        changed = batch.clone()
        changed[:, :, 4] += 1
        there, here = network(changed)["C3"], network(batch)["C3"]
    same = [torch.equal(there[:, :, t], here[:, :, t]) for t in range(FRAMES)]
    assert same == [True, False, False, False, False]  # three blocks reach three frames


def test_any_number_of_frames_and_copies():
    network = copy.deepcopy(TSM(tiny().eval()).eval())
    with torch.no_grad():
        for frames in (1, 3, 2):
            assert network(torch.randn(1, 3, frames, 32, 32))["C4"].shape == (1, 24, frames, 2, 2)
    hook = next(iter(network.body.layer1[0].conv1._forward_pre_hooks.values()))
    assert hook.__self__ is network  # a copy shifts by its own number of frames


@pytest.mark.parametrize("kind", [TSN, TSM])
def test_image_weights_and_own_weights_load(kind):
    flat = tiny()
    network = kind(tiny())
    state = flat.state_dict() | {"fc.weight": torch.ones(2, 24)}
    load_weights(network, {f"module.{key}": value for key, value in state.items()})
    assert torch.equal(network.body.layer3[0].conv2.weight, flat.layer3[0].conv2.weight)
    again = kind(tiny())
    load_weights(again, network.state_dict())
    assert torch.equal(again.body.layer3[0].conv2.weight, flat.layer3[0].conv2.weight)


@pytest.mark.parametrize("wrapper", ["tsn", "tsm"])
def test_every_2d_name_is_a_clip_network(wrapper):
    with torch.device("meta"):
        network = create_backbone(f"{wrapper}:resnet18", in_channels=1, out_levels=("C3", "C5"), frozen_stages=2)
        features = network(torch.zeros(2, 1, 3, 64, 64))
    assert {name: tuple(x.shape) for name, x in features.items()} == {"C3": (2, 128, 3, 8, 8), "C5": (2, 512, 3, 2, 2)}
    assert [level.reduction for level in network.levels] == [(1, 8, 8), (1, 32, 32)]
    network.train()
    assert not network.body.bn1.training
    assert network.body.layer4.training


def test_gradients_and_training():
    network = TSM(tiny(checkpointing=True, norm="group")).train()
    sum(x.sum() for x in network(clips()).values()).backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []


def test_unsupported_networks_are_refused():
    with torch.device("meta"):
        assert create_backbone("tsn:densenet121").levels[0] == Level("C2", 256, (1, 4, 4))
        with pytest.raises(ValueError, match=r"TimmBackbone has none of our residual blocks.*or use TSN"):
            create_backbone("tsm:densenet121")
    with pytest.raises(ValueError, match="takes clips already"):
        TSN(ResNet(BasicBlock, (1,), dim=3, widths=(8,), strides=(1,)))
    with pytest.raises(ValueError, match=r"unknown backbone 'resnet5'; close names: .*resnet50"):
        create_backbone("tsn:resnet5")

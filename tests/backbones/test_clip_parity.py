import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import video
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.video.resnet import BasicBlock, Conv2Plus1D, R2Plus1dStem, VideoResNet

from parity import randomize
from vertebra.backbones import create_backbone, load_weights
from vertebra.backbones.conventions import own_names

with warnings.catch_warnings():  # of torch, about what pytorchvideo calls
    warnings.simplefilter("ignore")
    from pytorchvideo.models import hub
    from pytorchvideo.models.resnet import create_resnet

LEVELS = ("C2", "C3", "C4", "C5")
TORCHVISIONS = ["r3d_18", "mc3_18", "r2plus1d_18", "r2plus1d_34"]
PYTORCHVIDEOS = ["r2plus1d_r50", "i3d_r50", "i3d_r101", "c2d_r50", "slow_r50", "csn_r101", "slowfast_r50"]
PYTORCHVIDEOS += ["slowfast_r101", "x3d_s", "x3d_m"]
QUICK = ["mc3_18", "r2plus1d_18", "slowfast_r50", "x3d_s"]
POOLED = ("i3d_r50", "i3d_r101", "c2d_r50")  # with a pooling between their stages


def quick_or_slow(names):
    return [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def torchvisions(name):
    if name != "r2plus1d_34":
        return getattr(video, name)()
    network = VideoResNet(BasicBlock, [Conv2Plus1D] * 4, [3, 4, 6, 3], R2Plus1dStem)
    for stage, width, middle in ((network.layer2, 128, 288), (network.layer3, 256, 576), (network.layer4, 512, 1152)):
        stage[0].conv2[0] = Conv2Plus1D(width, width, middle)  # as the publishers of the IG-65M weights build it
    return network


def pytorchvideos(name):
    if name != "i3d_r101":
        return getattr(hub, name)()
    looks, flat = (3, 1, 1), (1, 1, 1)
    return create_resnet(
        model_depth=101,
        stem_conv_kernel_size=(5, 7, 7),
        stage1_pool=nn.MaxPool3d,
        stage_conv_a_kernel_size=(looks, [looks, flat], [looks, flat], [flat, looks]),
    )


def pytorchvideos_features(name, network, clips):
    if name.startswith("slowfast"):
        paths, maps = [clips[:, :, ::4], clips], []
        for index, block in enumerate(network.blocks[:5]):
            paths = block(paths)
            if index:
                slow = paths[0][:, : 128 * 2**index]  # the channels after them come from the lateral connection
                maps.append(torch.cat([slow, F.avg_pool3d(paths[1], (4, 1, 1))], dim=1))
        return dict(zip(LEVELS, maps, strict=True))
    maps = []
    for block in network.blocks[:-1]:
        clips = block(clips)
        maps.append(clips)
    return dict(zip(LEVELS, [maps[index] for index in ((1, 3, 4, 5) if name in POOLED else (1, 2, 3, 4))], strict=True))


def assert_same(features, expected, tolerance):
    assert list(features) == list(LEVELS)
    for level in LEVELS:
        assert 0.1 < expected[level].std() < 10  # the tolerance means something only at this scale
        torch.testing.assert_close(features[level], expected[level], rtol=tolerance, atol=tolerance)


def clips(frames):
    return torch.randn(1, 3, frames, 65, 49, generator=torch.Generator().manual_seed(1))


def count(network):
    own = [parameter for key, parameter in network.named_parameters() if not key.startswith("fc.")]
    return sum(parameter.numel() for parameter in own)


@pytest.mark.parametrize("name", quick_or_slow(TORCHVISIONS))
@torch.no_grad()
def test_features_are_torchvisions(name):
    peer = randomize(torchvisions(name))
    ours = create_backbone(name).eval()
    load_weights(ours, peer.state_dict())
    getter = IntermediateLayerGetter(peer, {f"layer{i + 1}": level for i, level in enumerate(LEVELS)})
    assert_same(ours(clips(9)), getter(clips(9)), 1e-5)


@pytest.mark.parametrize("name", quick_or_slow(PYTORCHVIDEOS))
@torch.no_grad()
def test_features_are_pytorchvideos(name):
    peer = randomize(pytorchvideos(name))
    ours = create_backbone(name).eval()
    load_weights(ours, peer.state_dict())
    frames = 8 if name in POOLED or name.startswith("slowfast") else 9  # where the peer pools, it drops an odd frame
    assert_same(ours(clips(frames)), pytorchvideos_features(name, peer, clips(frames)), 1e-4)


@pytest.mark.parametrize("name", TORCHVISIONS)
def test_parameter_counts_are_torchvisions(name):
    with torch.device("meta"):
        assert count(create_backbone(name)) == count(torchvisions(name))


@pytest.mark.parametrize("name", [*TORCHVISIONS, *PYTORCHVIDEOS])
def test_own_names_match_no_other_convention(name):
    with torch.device("meta"):
        state = create_backbone(name).state_dict()
    assert list(own_names(state)) == list(state)

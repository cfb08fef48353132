import warnings

import pytest
import torch
from torch import nn
from torchvision.models import video

from parity import randomize
from vertebra.tasks.video import load_weights, video_classifier

with warnings.catch_warnings():  # of torch, about what pytorchvideo calls
    warnings.simplefilter("ignore")
    from pytorchvideo.models import hub

TORCHVISIONS = ["r3d_18", "mc3_18", "r2plus1d_18"]
PYTORCHVIDEOS = {  # parameters with 400 classes
    "slow_r50": 32_454_096,
    "slowfast_r50": 34_566_488,
    "slowfast_r101": 62_826_968,
    "r2plus1d_r50": 28_107_600,
    "i3d_r50": 28_043_472,
    "c2d_r50": 24_327_632,
    "csn_r101": 22_213_776,
    "x3d_s": 3_794_274,
    "x3d_m": 3_794_274,
}
QUICK = ["mc3_18", "slowfast_r50", "x3d_s"]


def quick_or_slow(names):
    return [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def pytorchvideos(name):
    network = getattr(hub, name)()
    head = network.blocks[-1]
    head.activation = None  # two of them end in probabilities
    if name.startswith("x3d"):  # the poolings are as large as the clips of the papers; here clips are small
        head.pool.pool = nn.AdaptiveAvgPool3d(1)
    elif name.startswith("slowfast"):
        network.blocks[-2].pool = nn.ModuleList([nn.AdaptiveAvgPool3d(1), nn.AdaptiveAvgPool3d(1)])
    else:
        head.pool = nn.AdaptiveAvgPool3d(1)
    return network


def clips(frames):
    return torch.randn(2, 3, frames, 65, 49, generator=torch.Generator().manual_seed(1))


def assert_same_logits(name, peer, theirs, frames):
    classifier = video_classifier(name, num_classes=400).eval()
    load_weights(classifier, peer.state_dict())
    with torch.no_grad():
        logits, expected = classifier(clips(frames)), peer(theirs)
    assert expected.shape == (2, 400)
    assert 0.1 < expected.std() < 10  # the tolerance means something only at this scale
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", quick_or_slow(TORCHVISIONS))
def test_logits_equal_torchvision(name):
    assert_same_logits(name, randomize(getattr(video, name)()), clips(9), 9)


@pytest.mark.parametrize("name", quick_or_slow(PYTORCHVIDEOS))
def test_logits_equal_pytorchvideo(name):
    theirs = [clips(8)[:, :, ::4], clips(8)] if name.startswith("slowfast") else clips(8)
    assert_same_logits(name, randomize(pytorchvideos(name)), theirs, 8)


@pytest.mark.parametrize(("name", "parameters"), PYTORCHVIDEOS.items())
def test_parameter_counts_equal_pytorchvideo(name, parameters):
    with torch.device("meta"):
        networks = [video_classifier(name, num_classes=400), getattr(hub, name)()]
    assert [sum(p.numel() for p in network.parameters()) for network in networks] == [parameters] * 2


@pytest.mark.parametrize("name", TORCHVISIONS)
def test_parameter_counts_equal_torchvision(name):
    with torch.device("meta"):
        networks = [video_classifier(name, num_classes=400), getattr(video, name)()]
    counts = [sum(p.numel() for p in network.parameters()) for network in networks]
    assert counts[0] == counts[1]

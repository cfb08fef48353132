from fnmatch import fnmatch

import pytest
import timm
import torch
import torchvision
from torchvision.models._utils import IntermediateLayerGetter

from parity import randomize
from vertebra.backbones import create_backbone, list_backbones, load_weights

TORCHVISIONS = ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "wide_resnet50_2", "wide_resnet101_2"]
TORCHVISIONS += ["resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d"]
# post-activation networks of this package; the others have tests of their own
TIMMS = [
    n
    for n in list_backbones()
    if timm.is_model(n) and not n.startswith(("densenet", "resnetv2", "vit_", "deit_", "vgg"))
]
QUICK = ["resnet18", "resnet50", "resnet18d", "resnet26t", "resnext50_32x4d", "seresnet18", "seresnext26d_32x4d"]
QUICK += ["resnetrs50"]


def quick_or_slow(names):
    return [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in names]


LEVELS = ("C2", "C3", "C4", "C5")
DILATED = {32: (False, False, False), 16: (False, False, True), 8: (False, True, True)}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def torchvision_features(name, output_stride=32):
    network = getattr(torchvision.models, name)(replace_stride_with_dilation=DILATED[output_stride])
    randomize(network)
    return network, IntermediateLayerGetter(network, {f"layer{i + 1}": level for i, level in enumerate(LEVELS)})


def timm_features(name, output_stride=32):
    network = timm.create_model(name, features_only=True, out_indices=(1, 2, 3, 4), output_stride=output_stride)
    randomize(network)
    return network, lambda images: dict(zip(LEVELS, network(images), strict=True))


def assert_same_features(name, peer, forward, output_stride=32):
    ours = create_backbone(name, output_stride=output_stride).eval()
    load_weights(ours, peer.state_dict())
    images = torch.randn(2, 3, 65, 49, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, features = forward(images), ours(images)
    assert list(features) == list(LEVELS)
    for level in LEVELS:
        assert 0.1 < expected[level].std() < 10  # the tolerance means something only at this scale
        torch.testing.assert_close(features[level], expected[level], rtol=1e-5, atol=1e-5)


def count(network):
    return sum(p.numel() for name, p in network.named_parameters() if not name.startswith("fc."))


@pytest.mark.parametrize("name", quick_or_slow(TORCHVISIONS))
def test_features_are_torchvisions(name):
    assert_same_features(name, *torchvision_features(name))


@pytest.mark.parametrize("name", quick_or_slow(TIMMS))
def test_features_are_timms(name):
    assert_same_features(name, *timm_features(name))


@pytest.mark.parametrize("output_stride", [16, 8])
def test_dilated_features_are_torchvisions(output_stride):
    assert_same_features("resnet50", *torchvision_features("resnet50", output_stride), output_stride)


@pytest.mark.parametrize("name", ["resnet18", "resnet26d", "seresnext26t_32x4d"])
@pytest.mark.parametrize("output_stride", [16, 8])
def test_dilated_features_are_timms(name, output_stride):  # torchvision refuses to dilate basic blocks
    assert_same_features(name, *timm_features(name, output_stride), output_stride)


HUGE = ("resnetrs[234]*", "*200*", "*269*", "*152*")  # a second each, even without numbers


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if any(fnmatch(name, huge) for huge in HUGE) else name
        for name in TIMMS
    ],
)
def test_parameter_counts_agree(name):
    with torch.device("meta"):
        ours = create_backbone(name)
        theirs = [timm.create_model(name, features_only=True)]
        if name in TORCHVISIONS:
            theirs.append(getattr(torchvision.models, name)())
    assert [count(network) for network in theirs] == [count(ours)] * len(theirs)


def test_every_residual_network_here_is_one_of_timms():
    assert len(TIMMS) >= 45

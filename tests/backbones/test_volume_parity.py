import pytest
import torch
from monai.networks.nets import resnet as monai
from torch import nn
from torchvision.models._utils import IntermediateLayerGetter

from parity import randomize
from vertebra.backbones import create_backbone, load_weights

LEVELS = ("C2", "C3", "C4", "C5")
NAMES = ["resnet10_3d", "resnet18_3d", "resnet34_3d", "resnet50_3d", "resnet101_3d", "resnet152_3d", "resnet200_3d"]
NAMES += ["resnet18a_3d", "resnet34a_3d"]
QUICK = ["resnet10_3d", "resnet18a_3d"]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def peer(name, **options):
    """MONAI's network with the settings for MedicalNet's weights."""
    kind = "A" if "a" in name else "B"
    build = getattr(monai, name.replace("a", "").removesuffix("_3d"))
    defaults = {"bias_downsample": False, "feed_forward": False}
    return build(n_input_channels=1, conv1_t_stride=2, shortcut_type=kind, **defaults | options)


def assert_same_features(name, network, state, tolerance=1e-5):
    ours = create_backbone(name, in_channels=1).eval()
    load_weights(ours, state)
    volumes = torch.randn(1, 1, 33, 49, 41, generator=torch.Generator().manual_seed(1))
    getter = IntermediateLayerGetter(network, {f"layer{i + 1}": level for i, level in enumerate(LEVELS)})
    with torch.no_grad():
        features, expected = ours(volumes), getter(volumes)
    assert list(features) == list(LEVELS)
    for level in LEVELS:
        assert 0.1 < expected[level].std() < 10  # the tolerance means something only at this scale
        torch.testing.assert_close(features[level], expected[level], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in NAMES])
def test_features_are_monais(name):
    network = randomize(peer(name))
    assert_same_features(name, network, network.state_dict())


def test_features_of_small_volumes_are_monais():
    layers, widths = [2, 2, 2, 2], monai.get_inplanes()
    small = {"conv1_t_size": 3, "conv1_t_stride": 2, "no_max_pool": True, "widen_factor": 0.5}
    network = randomize(
        monai.ResNet("basic", layers, widths, n_input_channels=1, bias_downsample=False, feed_forward=False, **small)
    )
    network.maxpool = nn.Identity()  # it is there, but passed by
    assert_same_features("resnet18s_3d", network, network.state_dict())


def test_shortcut_biases_fold_into_norms():
    network = randomize(peer("resnet18_3d", bias_downsample=True))
    assert_same_features("resnet18_3d", network, network.state_dict())


def test_a_medicalnet_checkpoint_is_read_as_it_is(tmp_path):
    network = randomize(peer("resnet18a_3d"))
    state = {f"module.{key}": value for key, value in network.state_dict().items()}  # of a network on many GPUs
    torch.save({"state_dict": state, "epoch": 1}, tmp_path / "resnet_18.pth")
    assert_same_features("resnet18a_3d", network, tmp_path / "resnet_18.pth")


def test_shortcuts_of_the_other_kind_are_refused():
    with pytest.raises(ValueError, match=r"missing from the state dict: layer2\.0\.downsample\.0\.weight"):
        load_weights(create_backbone("resnet18_3d", in_channels=1), peer("resnet18a_3d").state_dict())


@pytest.mark.parametrize("name", NAMES)
def test_parameter_counts_agree(name):
    with torch.device("meta"):
        ours, theirs = create_backbone(name, in_channels=1), peer(name)
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())

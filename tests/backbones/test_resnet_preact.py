import pytest
import timm
import torch

from parity import randomize
from vertebra.backbones import create_backbone, list_backbones, load_weights

NAMES = [name for name in list_backbones("resnetv2_*") if timm.is_model(name)]
QUICK = ["resnetv2_18", "resnetv2_34d", "resnetv2_50", "resnetv2_50t"]
LEVELS = ("C2", "C3", "C4", "C5")


def randomized(name, **options):
    return randomize(timm.create_model(name, num_classes=0, **options), gain=1.0)


def assert_same_features(name, output_stride=32):
    theirs = randomized(name, output_stride=output_stride)
    ours = create_backbone(name, output_stride=output_stride).eval()
    load_weights(ours, theirs.state_dict())
    images = torch.randn(2, 3, 65, 49, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = theirs.forward_intermediates(images, indices=4, norm=True, intermediates_only=True)
        features = ours(images)
    assert list(features) == list(LEVELS)
    for level, reference in zip(LEVELS, expected, strict=True):
        assert 0.1 < reference.std() < 10  # the tolerance means something only at this scale
        torch.testing.assert_close(features[level], reference, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in NAMES])
def test_features_are_timms(name):
    assert_same_features(name)


@pytest.mark.parametrize("name", ["resnetv2_18", "resnetv2_50d"])
@pytest.mark.parametrize("output_stride", [16, 8])
def test_dilated_features_are_timms(name, output_stride):
    assert_same_features(name, output_stride)


@pytest.mark.parametrize("name", NAMES)
def test_parameter_counts_agree(name):
    with torch.device("meta"):
        networks = create_backbone(name), timm.create_model(name, num_classes=0)
    ours, theirs = (sum(p.numel() for p in network.parameters()) for network in networks)
    assert ours == theirs


def test_all_of_timms_batch_normed_ones_are_here():
    assert len(NAMES) == 11


@pytest.mark.parametrize("name", ["resnetv2_18", "resnetv2_164"])
def test_zero_init_blocks_start_as_shortcuts(name):
    body = create_backbone(name, zero_init=True).eval()
    block = body.layer1[1]
    x = torch.rand(1, block.out_channels, 5, 5)
    assert torch.equal(block(x), x)


def test_freezing_every_stage_freezes_the_closing_norm():
    body = create_backbone("resnetv2_18", frozen_stages=5)
    assert not any(parameter.requires_grad for parameter in body.parameters())
    body = create_backbone("resnetv2_18", frozen_stages=4)
    assert all(parameter.requires_grad for parameter in body.closing.parameters())

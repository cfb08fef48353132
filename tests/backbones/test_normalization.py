"""torchvision and timm are the oracles: what their published weights expect is what our networks of that name see."""

import pytest
import timm
import torch
from torchvision.models import get_model_weights

from vertebra.backbones import create_backbone, list_backbones
from vertebra.backbones.normalization import IMAGENET, published_normalization
from vertebra.tasks.training.normalize import normalize_for


def published(name):
    """Return mean and standard deviation of torchvision's or timm's default weights, as `pretrained` chooses them."""
    try:
        transforms = get_model_weights(name).DEFAULT.transforms()
    except ValueError:
        config = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
        return (config.mean, config.std) if config is not None and (config.url or config.hf_hub_id) else None
    return transforms.mean, transforms.std


PUBLISHED = {name: found for name in list_backbones() if (found := published(name))}


@pytest.mark.parametrize("name", PUBLISHED)
def test_networks_see_what_their_published_weights_expect(name):
    for ours, theirs in zip(published_normalization(name), PUBLISHED[name], strict=True):
        assert ours == pytest.approx(tuple(theirs))


def test_several_publishers_are_among_them():
    assert len(PUBLISHED) > 40
    assert {"resnet50", "r2plus1d_18", "resnetv2_50"} <= PUBLISHED.keys()


@pytest.mark.parametrize("name", ["resnet18", "timm:resnetv2_50x1_bit.goog_in21k", "tsn:resnetv2_18", "slowfast_r50"])
def test_a_module_takes_over_what_the_backbone_expects(name):
    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = create_backbone(name)

    expected = {"resnet18": IMAGENET, "slowfast_r50": ((0.45,) * 3, (0.225,) * 3)}.get(name, ((0.5,) * 3, (0.5,) * 3))
    normalize = normalize_for(Network())
    assert (tuple(normalize.mean), tuple(normalize.std)) == expected
    assert normalize_for(Network(), mean=[0.1, 0.2, 0.3]).mean == [0.1, 0.2, 0.3]

"""Inputs of a backbone, whether the network calls it or its `embed`."""

import pytest
import torch

from vertebra.backbones.received import received
from vertebra.tasks.classification import image_classifier
from vertebra.tasks.segmentation import fcn


@pytest.mark.parametrize(
    "network", [image_classifier("resnet20", 2), image_classifier("vit_tiny_patch16_224", 2), fcn("resnet20", 2)]
)
def test_each_input_is_seen_once(network):
    images, found = torch.randn(2, 3, 32, 32), []
    own = set(vars(network.backbone))
    network.eval()
    with received(network.backbone, found.append):
        network(images)
        network(images + 1)
    network(images)
    assert len(found) == 2
    assert torch.equal(found[0], images)
    assert torch.equal(found[1], images + 1)
    assert set(vars(network.backbone)) == own

"""The base of detectors: whatever the network, batching, checks and the renaming of keys are the same."""

import pytest
import torch
from torch import nn

from vertebra.backbones import FPN, BackboneOptions, ResNet
from vertebra.backbones.blocks import BasicBlock
from vertebra.tasks.detection import Detector, load_weights
from vertebra.tasks.detection.parts.batch import pad_images, pad_targets
from vertebra.tasks.detection.parts.detection_rows import DetectionRows


class Brightest(Detector):
    """A detector of one box an image, whose size is a weight."""

    renames = (*Detector.renames, (r"^their_side$", "side"))

    def __init__(self):
        body = ResNet(BasicBlock, (1, 1), BackboneOptions(), widths=(4, 8), strides=(1, 2))
        super().__init__(body, FPN(body.levels, channels=4))
        self.side = nn.Parameter(torch.tensor(8.0))

    def losses(self, features, batch, targets):
        sides = targets.boxes[..., 2] - targets.boxes[..., 0]
        return {"loss_side": ((sides - self.side).square() * (targets.labels > 0)).sum()}

    def detect(self, features, batch):
        assert (list(features), batch.padded_size) == (["P2", "P3"], (64, 64))
        scores, labels, images = torch.tensor([0.9, 0.8, 0.7]), torch.tensor([1, 2, 1]), torch.tensor([0, 1, 1])
        boxes = batch.sizes.float()[images].repeat(1, 2)
        return DetectionRows.of(boxes, scores, labels, images, torch.tensor([1, 2]))


IMAGES = [torch.zeros(3, 30, 50), torch.zeros(3, 40, 20)]
TARGETS = [
    {"boxes": torch.tensor([[0.0, 0.0, 5.0, 5.0]]), "labels": torch.tensor([1])},
    {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
]


@pytest.mark.parametrize("padded", [False, True])
def test_losses_with_targets_and_detections_without(padded):
    network = Brightest()
    images, targets = (pad_images(IMAGES), pad_targets(TARGETS)) if padded else (IMAGES, TARGETS)
    assert {name: loss.item() for name, loss in network(images, targets).items()} == {"loss_side": 9.0}
    found = [{name: x.tolist() for name, x in of_image.items()} for of_image in network(images)]
    assert [of_image["boxes"] for of_image in found] == [[[30, 50] * 2], [[40, 20] * 2] * 2]
    assert [of_image["labels"] for of_image in found] == [[1], [2, 1]]


def test_a_target_for_every_image():
    with pytest.raises(ValueError, match="there are 2 images and 1 targets; give a dict of boxes and labels"):
        Brightest()(IMAGES, TARGETS[:1])


def test_both_methods_are_required():
    class Half(Detector):
        def losses(self, features, batch, targets):
            return {}

    with pytest.raises(TypeError, match="detect"):
        Half(nn.Identity(), nn.Identity())


def test_each_network_renames_the_keys_of_its_peers():
    network, other = Brightest(), Brightest()
    state = {}
    for key, value in other.state_dict().items():
        key = key.replace("backbone.", "backbone.body.", 1) if key.startswith("backbone.") else key
        key = key.replace("neck.", "backbone.fpn.", 1).replace("blocks.0.0.", "blocks.0.").replace("side", "their_side")
        state[key] = torch.full_like(value, 3)
    assert "backbone.fpn.inner_blocks.0.bias" in state
    assert "backbone.fpn.layer_blocks.1.0.bias" in state
    load_weights(network, state)
    assert all((value == 3).all() for key, value in network.state_dict().items() if not key.endswith("tracked"))

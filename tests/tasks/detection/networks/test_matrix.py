"""Every 2-D backbone in a detector: one training step on a tiny input."""

import pytest
import torch

from vertebra.backbones import create_backbone
from vertebra.tasks.detection import ProposalSelection, faster_rcnn


@pytest.fixture(autouse=True)
def one_thread():
    torch.manual_seed(0)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def assert_one_step_trains(backbone, **options):
    few = ProposalSelection(per_level=50, per_image=40)
    network = faster_rcnn(backbone, 2, channels=16, proposals=few, rois_per_image=16, **options).train()
    images = [torch.randn(3, 64, 50), torch.randn(3, 40, 64)]
    boxes = torch.tensor([[4.0, 6.0, 36.0, 34.0]])
    targets = [{"boxes": boxes, "labels": torch.tensor([label])} for label in (1, 2)]
    optimizer = torch.optim.SGD([parameter for parameter in network.parameters() if parameter.requires_grad], lr=1e-3)
    losses = network(images, targets)
    assert set(losses) == {"loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg"}
    assert all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    without = [
        name
        for name, parameter in network.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or not parameter.grad.isfinite().all())
    ]
    assert without == []
    optimizer.step()
    assert all(parameter.isfinite().all() for parameter in network.parameters())
    return network


def test_every_backbone_trains_in_a_detector(image_backbone):
    assert_one_step_trains(image_backbone)


@pytest.mark.parametrize("neck", ["pafpn", "bifpn"])
def test_necks_on_backbones_of_few_levels(neck):
    network = assert_one_step_trains("resnet20", neck=neck)
    assert [level.reduction for level in network.neck.levels] == [1, 2, 4, 8]


def test_frozen_stages_stay_in_a_detector():
    body = create_backbone("densenet121", frozen_stages=2)
    network = assert_one_step_trains(body)
    assert {name for name, parameter in network.named_parameters() if parameter.grad is None} == {
        f"backbone.{name}" for name, parameter in body.named_parameters() if not parameter.requires_grad
    }


@pytest.mark.slow
def test_only_networks_of_clips_and_volumes_are_left_out(flat_left_out):
    assert flat_left_out == []

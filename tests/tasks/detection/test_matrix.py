"""Every 2-D backbone in a detector: one training step on a tiny input."""

from fnmatch import fnmatch

import pytest
import torch

from backbones import create_backbone, list_backbones
from tasks.detection import ProposalSelection, faster_rcnn

OF_CLIPS = ["*3d_18", "mc3_18", "r2plus1d_*", "i3d_*", "c2d_*", "slow*", "csn_*", "x3d_*", "*_3d"]
OF_IMAGES = [name for name in list_backbones() if not any(fnmatch(name, pattern) for pattern in OF_CLIPS)]
QUICK = ["resnet18", "resnet18d", "seresnet18", "resnetv2_18", "resnet20", "plain20", "densenet121", "timm:regnetx_002"]


def quick_or_slow(names):
    return [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in names]


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


@pytest.mark.parametrize("name", quick_or_slow(OF_IMAGES))
def test_every_backbone_trains_in_a_detector(name):
    assert_one_step_trains(name)


@pytest.mark.parametrize("name", quick_or_slow(["timm:regnetx_002", "timm:convnext_atto", "timm:vgg11_bn"]))
def test_networks_of_timm_train_in_a_detector(name):
    assert_one_step_trains(name)


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
def test_only_networks_of_clips_and_volumes_are_left_out():
    left_out = set(list_backbones()) - set(OF_IMAGES)
    with torch.device("meta"):
        flat = [name for name in left_out if isinstance(create_backbone(name).levels[0].reduction, int)]
    assert flat == []

"""Mask R-CNN alone; beside torchvision's it is in the parity tests."""

import pytest
import torch
from torch import nn

from detectors import assert_batch_equals_its_images, loss_history
from vertebra.backbones import BackboneOptions, ResNet
from vertebra.backbones.blocks import BasicBlock
from vertebra.tasks.detection import AnchorGenerator, DetectionSelection, ProposalSelection, mask_rcnn, paste_masks
from vertebra.tasks.detection.parts.mask_branch import MaskPredictor, objects_first
from vertebra.tasks.training.divergence.finite_outputs import NonFiniteOutput

NUM_CLASSES = 2


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture
def samples_with_masks(samples):
    """Draw `samples` with masks: the square without its upper right quarter."""

    def draw(count):
        images, targets = samples(count)
        for image, target in zip(images, targets, strict=True):
            x1, y1, x2, y2 = target["boxes"][0].tolist()
            mask = torch.zeros(1, *image.shape[1:], dtype=torch.bool)
            mask[0, y1:y2, x1:x2] = True
            mask[0, y1 : (y1 + y2) // 2, (x1 + x2) // 2 : x2] = False
            image[:, ~mask[0]] = image[:, ~mask[0]].clamp(-1, 1)
            target["masks"] = mask
        return images, targets

    return draw


def detector(norm="batch", **options):
    body = ResNet(BasicBlock, (1, 1, 1, 1), BackboneOptions(norm=norm), widths=(8, 16, 24, 32))
    few = ProposalSelection(per_level=100, per_image=60, per_level_eval=60, per_image_eval=40)
    anchors = AnchorGenerator(((8,), (16,), (32,), (48,), (64,)))
    return mask_rcnn(
        body, NUM_CLASSES, **{"anchors": anchors, "proposals": few, "rois_per_image": 32, "channels": 16} | options
    )


def test_losses_fall_and_masks_are_learned(samples_with_masks):
    network = detector(norm="group", detections=DetectionSelection(score_threshold=0.0, per_image=1)).train()
    images, targets = samples_with_masks(8)
    history = loss_history(network, images, targets, steps=40, lr=3e-3)
    names = {"loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg", "loss_mask"}
    assert set(history[0]) == names
    assert history[-1]["loss_mask"] < 0.6 * history[0]["loss_mask"]
    with torch.no_grad():
        found = network.eval()(images)
    overlaps = []
    for image, detections, target in zip(images, found, targets, strict=True):
        mask = paste_masks(detections["mask_probs"], detections["boxes"], *image.shape[1:])
        overlaps.append(((mask & target["masks"]).sum() / (mask | target["masks"]).sum()).item())
    assert sum(overlaps) / len(overlaps) > 0.6, overlaps


@pytest.mark.parametrize("head_norm", [None, "batch", "group"])
def test_one_step_reaches_every_parameter(head_norm, samples_with_masks):
    network = detector(head_norm=head_norm).train()
    sum(network(*samples_with_masks(2)).values()).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("empty", [[0], [0, 1]])
@pytest.mark.parametrize("head_norm", [None, "batch"])
def test_images_without_objects_train(empty, head_norm, samples_with_masks):
    network = detector(head_norm=head_norm).train()
    images, targets = samples_with_masks(2)
    for i in empty:
        targets[i] = {
            "boxes": torch.zeros(0, 4),
            "labels": torch.zeros(0, dtype=torch.int64),
            "masks": torch.zeros(0, 64, 64),
        }
    losses = network(images, targets)
    assert (losses["loss_mask"] == 0) == (len(empty) == 2)
    assert all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


def test_targets_without_masks_are_refused(samples):
    with pytest.raises(ValueError, match=r"the targets have no masks.*give data with segmentations"):
        detector()(*samples(2))


def test_a_batch_equals_its_single_images():
    network = detector(detections=DetectionSelection(score_threshold=0.0, per_image=20)).eval()
    for layer in (network.rpn.head.bbox_pred, network.roi_heads.box.predictor.cls_score):
        nn.init.normal_(layer.weight, std=0.2)
    for found in assert_batch_equals_its_images(network):
        assert found["mask_probs"].shape == (20, 28, 28)


def test_images_without_detections_have_no_masks():
    network = detector(detections=DetectionSelection(score_threshold=1.0)).eval()
    with torch.no_grad():
        found = network([torch.randn(3, 64, 40)] * 2)
    assert [detections["mask_probs"].shape for detections in found] == [(0, 28, 28)] * 2


def test_masks_that_are_not_finite_are_refused():
    network = detector(detections=DetectionSelection(score_threshold=0.0)).eval()
    network.roi_heads.branches["mask"].predictor.mask_fcn_logits.bias.data.fill_(float("nan"))
    with torch.no_grad(), pytest.raises(NonFiniteOutput, match="sample 0 of the batch"):
        network([torch.randn(3, 64, 40)])


def test_the_predictor_computes_the_class_of_each_box():
    predictor = MaskPredictor(8, NUM_CLASSES)
    x, labels = torch.randn(4, 8, 5, 5), torch.tensor([2, 1, 0, 2])
    everything = predictor.mask_fcn_logits(predictor.conv5_mask(x).relu())
    torch.testing.assert_close(predictor(x, labels), everything[torch.arange(4), labels])


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("flags", [[0, 1, 0, 1, 1], [0, 0, 0], [1, 1]])
def test_objects_come_first_in_a_number_known_to_the_host(flags, device):
    flags = torch.tensor(flags, dtype=torch.bool)
    if device == "meta":  # what any device that the host should not wait for does
        assert objects_first(flags.to(device))[0].shape == flags.shape
        return
    rows, counted = objects_first(flags)
    assert rows[counted].tolist() == flags.nonzero().flatten().tolist()
    assert len(rows) == max(1, int(flags.sum()))
    assert counted.sum() == flags.sum()

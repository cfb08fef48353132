"""Cascade R-CNN beside mmdetection's, stored by fixtures/make_cascade_rcnn.py, and alone."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from detectors import loss_history
from vertebra.backbones import BackboneOptions, ResNet
from vertebra.backbones.blocks import BasicBlock
from vertebra.tasks.detection import AnchorGenerator, CascadeHeads, ProposalSelection, cascade_rcnn, load_weights
from vertebra.tasks.detection.parts.batch import pad_targets
from vertebra.tasks.detection.parts.rpn import Proposals
from vertebra.tasks.detection.parts.sampling import BalancedSampler

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture(scope="module")
def oracle():
    sys.path.insert(0, str(FIXTURES))  # the script imports the one beside it
    yield importlib.import_module("make_cascade_rcnn")
    sys.path.remove(str(FIXTURES))


@pytest.fixture(scope="module")
def stored():
    with np.load(FIXTURES / "cascade_rcnn.npz") as file:
        arrays = {name: torch.from_numpy(file[name]) for name in file.files if name != "shapes"}
        return json.loads(str(file["shapes"])), arrays


@pytest.fixture
def ours(oracle, stored):
    body = ResNet(BasicBlock, (2, 2, 2, 2), widths=oracle.WIDTHS)
    network = cascade_rcnn(body, oracle.NUM_CLASSES, channels=oracle.CHANNELS, masks=True)
    load_weights(network, oracle.weights(stored[0]))
    for stage in network.roi_heads.stages:
        stage.sampler = BalancedSampler(1_000_000, 0.5)  # all are sampled, so that chance has no part in it
    return network


def inputs(oracle):
    """The pyramid, proposals and sizes that the stored numbers are of."""
    boxes = oracle.proposals()
    most = max(map(len, boxes))
    valid = torch.stack([torch.arange(most) < len(of_image) for of_image in boxes])
    padded = torch.stack([torch.cat((x, torch.zeros(most - len(x), 4))) for x in boxes])
    pyramid = {f"P{i + 2}": x for i, x in enumerate(oracle.features())}
    return pyramid, Proposals(padded, valid), torch.tensor(oracle.SIZES)


def test_every_stage_and_its_detections_equal_mmdetections(oracle, stored, ours):
    expected, seen = stored[1], []
    for stage in ours.roi_heads.stages:
        stage.box.predictor.register_forward_hook(lambda module, inputs, outputs: seen.append(outputs))
    pyramid, proposals, sizes = inputs(oracle)
    with torch.no_grad():
        found = ours.eval().roi_heads(pyramid, proposals, sizes).per_image()
    assert len(seen) == 3
    for i, (logits, deltas) in enumerate(seen):
        real = proposals.valid.flatten()
        background_last = logits[real].roll(-1, dims=1)
        torch.testing.assert_close(background_last, expected[f"logits{i}"], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(deltas[real, 0], expected[f"deltas{i}"], atol=1e-4, rtol=1e-4)
    for i, detections in enumerate(found):
        wanted = {name: expected[f"detections{i}.{name}"] for name in ("boxes", "scores", "labels", "mask_probs")}
        assert wanted["labels"].unique().numel() > 1
        assert torch.equal(detections["labels"], wanted["labels"])
        torch.testing.assert_close(detections["boxes"], wanted["boxes"], atol=1e-3, rtol=0)
        torch.testing.assert_close(detections["scores"], wanted["scores"], atol=1e-5, rtol=0)
        probs = detections["mask_probs"][:10, ::2, ::2]
        torch.testing.assert_close(probs, wanted["mask_probs"], atol=1e-4, rtol=0)
        assert probs.std() > 0.01


def test_losses_equal_mmdetections(oracle, stored, ours):
    pyramid, proposals, sizes = inputs(oracle)
    found = ours.train().roi_heads.losses(pyramid, proposals, pad_targets(oracle.targets()), sizes)
    assert found.keys() == {name for name in stored[1] if name.startswith("loss_")}
    for name, loss in found.items():
        wanted = stored[1][name].view(())
        assert wanted > 0.01
        torch.testing.assert_close(loss, wanted, atol=1e-4, rtol=1e-4, msg=lambda text, name=name: f"{name}: {text}")


def detector(masks=False, norm="batch", **options):
    torch.manual_seed(0)
    body = ResNet(BasicBlock, (1, 1, 1, 1), BackboneOptions(norm=norm), widths=(8, 16, 24, 32))
    few = ProposalSelection(per_level=100, per_image=60, per_level_eval=60, per_image_eval=40)
    anchors = AnchorGenerator(((8,), (16,), (32,), (48,), (64,)))
    options = {"anchors": anchors, "proposals": few, "rois_per_image": 32, "channels": 16} | options
    return cascade_rcnn(body, 2, masks=masks, **options)


def with_masks(targets):
    for target in targets:
        x1, y1, x2, y2 = target["boxes"][0].long().tolist() if len(target["boxes"]) else (0,) * 4
        mask = torch.zeros(len(target["boxes"]), 64, 64, dtype=torch.bool)
        mask[:, y1:y2, x1:x2] = True
        target["masks"] = mask
    return targets


def test_losses_fall_in_every_stage(samples):
    network = detector(norm="group", rois_per_image=16).train()
    images, targets = samples(4)
    history = loss_history(network, images, targets, steps=12, lr=4e-3)
    for number in (1, 2, 3):
        assert history[-1][f"loss_classifier_{number}"] < 0.8 * history[0][f"loss_classifier_{number}"], number


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("head_norm", [None, "group"])
def test_one_step_reaches_every_parameter(masks, head_norm, samples):
    network = detector(masks, head_norm=head_norm).train()
    images, targets = samples(2)
    sum(network(images, with_masks(targets) if masks else targets).values()).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert all(isinstance(network.get_submodule(name), nn.Module) for name in network.compiled)


@pytest.mark.parametrize("masks", [False, True])
def test_images_without_objects_train(masks, samples):
    network = detector(masks).train()
    images, _ = samples(2)
    none = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    losses = network(images, with_masks([dict(none), dict(none)]) if masks else [none, none])
    assert all(loss.isfinite() for loss in losses.values())
    assert all(loss == 0 for name, loss in losses.items() if "mask" in name or "box_reg" in name)
    sum(losses.values()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


def test_true_boxes_enter_each_stage_once(samples):
    network = detector().train()
    images, targets = samples(1)
    seen = []
    for stage in network.roi_heads.stages:
        stage.sampler = lambda labels: seen.append(labels) or BalancedSampler(1_000_000, 0.5)(labels)
    network(images, targets)
    first = seen[0].shape[1] - 1
    # the next stage has all proposals and the true box of the one before, which it must not count
    assert [x.shape[1] for x in seen] == [first + 1, first + 2, first + 3]
    assert [int((x[:, -1] > 0).sum()) for x in seen] == [1, 1, 1]


def test_stages_and_weights_are_as_many():
    with pytest.raises(ValueError, match="there are 0 stages and 3 loss_weights"):
        CascadeHeads([])

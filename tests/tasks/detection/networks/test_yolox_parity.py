"""pixeltable-yolox is the oracle: same weights, same numbers, stored by fixtures/make_yolox.py."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from parity import assert_same_detections, fix_statistics
from vertebra.backbones import BackboneOptions, create_backbone
from vertebra.backbones import load_weights as load_backbone
from vertebra.backbones.cspdarknet import SIZES, CSPDarknet, unfocused
from vertebra.tasks.detection import DetectionSelection, load_weights, yolox

FIXTURES = Path(__file__).parent / "fixtures"
SPEC = importlib.util.spec_from_file_location("make_yolox", FIXTURES / "make_yolox.py")
oracle = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(oracle)


@pytest.fixture(scope="module")
def stored():
    """Names and shapes of their weights, and what they compute."""
    with np.load(FIXTURES / "yolox.npz") as file:
        arrays = {name: torch.from_numpy(file[name]) for name in file.files if name != "shapes"}
        return json.loads(str(file["shapes"])), arrays


@pytest.fixture
def ours(stored, monkeypatch):
    monkeypatch.setitem(SIZES, "narrow", (oracle.DEPTH, oracle.WIDTH))
    thresholds = DetectionSelection(oracle.THRESHOLDS["conf_thre"], oracle.THRESHOLDS["nms_thre"], per_image=1000)
    body = CSPDarknet(BackboneOptions(), oracle.DEPTH, oracle.WIDTH)
    network = yolox(body, oracle.NUM_CLASSES, size="narrow", detections=thresholds).eval()
    load_weights(network, oracle.weights(stored[0]))
    return network


def images():
    return oracle.images().flip(1)  # ours are red, green and blue


def test_maps_and_predictions_equal_theirs(ours, stored):
    expected = stored[1]
    with torch.no_grad():
        features = ours.backbone(images())
        pyramid = ours.neck(features)
        maps = list(pyramid.values())
        logits, deltas, objectness = (torch.cat(levels, dim=1) for levels in ours.head(maps))
        boxes = ours.coder.decode(deltas, ours.anchors.candidates(maps, oracle.SIZE).boxes)
    torch.testing.assert_close(features["C5"], expected["C5"], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(pyramid["P5"], expected["P5"], atol=1e-4, rtol=1e-4)
    centers = torch.cat(((boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]), dim=-1)
    torch.testing.assert_close(centers, expected["found"][..., :4], atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(objectness.sigmoid(), expected["found"][..., 4], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(logits.sigmoid(), expected["found"][..., 5:], atol=1e-5, rtol=1e-4)
    assert logits.std() > 0.5


def test_detections_equal_theirs(ours, stored):
    found = ours(list(images()))
    height, width = oracle.SIZE
    limits = torch.tensor([width, height, width, height])
    expected = [{name: stored[1][f"detections{i}.{name}"] for name in x} for i, x in enumerate(found)]
    for of_image in expected:
        of_image["boxes"] = torch.minimum(of_image["boxes"].clamp(min=0), limits)  # theirs are not clipped
    assert_same_detections(found, expected, least=10)


def test_losses_and_gradients_equal_theirs(ours, stored):
    fix_statistics(ours)
    ours.l1 = True
    found = ours(list(images()), oracle.targets())
    assert set(found) == {f"loss_{name}" for name in ("classifier", "objectness", "box_iou", "box_l1")}
    for name, loss in found.items():
        assert loss > 0.1
        torch.testing.assert_close(loss, stored[1][name], atol=1e-4, rtol=1e-4)
    sum(found.values()).backward()
    for gradient, expected in (
        (ours.backbone.stem.conv.weight.grad, unfocused(stored[1]["gradient of the stem"])),
        (ours.head.reg_preds[0].weight.grad, stored[1]["gradient of the boxes"]),
    ):
        scale = expected.abs().max()
        assert scale > 0
        assert (gradient - expected).abs().max() < 1e-3 * scale
    assert stored[1]["objects"] > 10  # of five objects: most have several pixels


@pytest.mark.parametrize("size", ["tiny", "s", "m", "l", "x"])
def test_sizes_are_theirs(size):
    # numbers of parameters of pixeltable-yolox 0.4.3
    counts = {"tiny": 5055855, "s": 8968255, "m": 25326495, "l": 54208895, "x": 99071455}
    with torch.device("meta"):
        network = yolox(f"cspdarknet_{size}", 80, size=size)
    assert sum(parameter.numel() for parameter in network.parameters()) == counts[size]


def test_the_backbone_starts_from_weights_of_the_whole_network(stored):
    state = oracle.weights(stored[0])
    body = CSPDarknet(BackboneOptions(), oracle.DEPTH, oracle.WIDTH).eval()
    load_backbone(body, state)
    with torch.no_grad():
        torch.testing.assert_close(body(images())["C5"], stored[1]["C5"], atol=1e-4, rtol=1e-4)


def test_the_stem_adapts_to_gray_images(stored):
    state = {k.removeprefix("backbone.backbone."): x for k, x in oracle.weights(stored[0]).items()}
    body = CSPDarknet(BackboneOptions(in_channels=1), oracle.DEPTH, oracle.WIDTH).eval()
    color = CSPDarknet(BackboneOptions(), oracle.DEPTH, oracle.WIDTH).eval()
    ignored = [key for key in state if not key.startswith(("stem.", "dark"))]
    load_backbone(color, state, ignore=ignored)
    load_backbone(body, state, adapt=True, ignore=ignored)
    gray = torch.randn(1, 1, 33, 47)
    with torch.no_grad():
        found, expected = body(gray), color(gray.expand(-1, 3, -1, -1))
    for name, x in found.items():
        torch.testing.assert_close(x, expected[name], atol=1e-4, rtol=1e-4)


def test_registered_backbones_have_the_sizes_of_the_heads():
    for size, (depth, width) in SIZES.items():
        with torch.device("meta"):
            body = create_backbone(f"cspdarknet_{size}")
            expected = CSPDarknet(BackboneOptions(), depth, width)
        assert {k: x.shape for k, x in body.state_dict().items()} == {
            k: x.shape for k, x in expected.state_dict().items()
        }

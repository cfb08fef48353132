"""What all detectors have in common: batches, padding, crowds, and any input that a data set may have."""

import copy
import inspect
from functools import cache, partial

import pytest
import torch

from parity import randomize
from vertebra.backbones import BackboneOptions, ResNet, create_backbone
from vertebra.backbones.blocks import BasicBlock
from vertebra.tasks import detection
from vertebra.tasks.detection import (
    DenseSelection,
    DetectionSelection,
    Detector,
    PerClassSelection,
    ProposalSelection,
    SSDLayout,
    TransformerSize,
    cascade_rcnn,
    faster_rcnn,
    fcos,
    mask_rcnn,
    retinanet,
    rt_detr,
    ssd,
    yolox,
)
from vertebra.tasks.detection.parts.batch import pad_images, pad_targets
from vertebra.tasks.detection.parts.losses import GIoU
from vertebra.tasks.training.divergence.finite_outputs import NonFiniteOutput

NUM_CLASSES = 2
FEW = ProposalSelection(per_level=50, per_image=40, per_level_eval=50, per_image_eval=40)
LEVELS = SSDLayout(size=64, channels=(24,) * 6)
LITE = SSDLayout(size=64, channels=(24,) * 6, last=(), finest=16, depthwise=True)
QUERIES = TransformerSize(16, 32, 0.5, num_layers=2, channels=16, feedforward=32, num_heads=4, num_points=2)

SECOND_STAGE = {"channels": 16, "proposals": FEW, "rois_per_image": 16}
DETECTORS = {
    "faster_rcnn": partial(faster_rcnn, **SECOND_STAGE),
    "mask_rcnn": partial(mask_rcnn, **SECOND_STAGE),
    "cascade_rcnn": partial(cascade_rcnn, masks=True, **SECOND_STAGE),
    "retinanet": partial(retinanet, channels=16, detections=DenseSelection(0.0, per_image=30)),
    "retinanet v2": partial(
        retinanet,
        channels=48,
        head_norm="group",
        extra="conv",
        box_loss=GIoU(),
        detections=DenseSelection(0.0, per_image=30),
    ),
    "fcos": partial(fcos, channels=48, detections=DenseSelection(0.0, per_image=30)),
    "ssd": partial(ssd, layout=LEVELS, detections=PerClassSelection(0.0, per_image=30)),
    "ssdlite": partial(ssd, layout=LITE, head_norm="group", detections=PerClassSelection(0.0, per_image=30)),
    "yolox": partial(yolox, size="tiny", head_norm="group", detections=DetectionSelection(0.0, per_image=30)),
    "rt_detr": partial(rt_detr, size=QUERIES, num_queries=10, num_denoising=4, head_norm="group"),
}
TWO_STAGES = [name for name in DETECTORS if "rcnn" in name]
OF_CHANCE = [*TWO_STAGES, "rt_detr"]  # their losses are of samples or of noise
ALL = pytest.mark.parametrize("name", DETECTORS)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def detector(name, num_classes=NUM_CLASSES, norm="group", **options):
    body = ResNet(BasicBlock, (1, 1, 1, 1), BackboneOptions(norm=norm), widths=(8, 16, 24, 32))
    return DETECTORS[name](body, num_classes, **options)


def target(*boxes, label=1):
    return {"boxes": torch.tensor(boxes).reshape(-1, 4), "labels": torch.full((len(boxes),), label)}


EMPTY = target()
BOX = (4.0, 6.0, 36.0, 34.0)

# images by their sizes, and what they show
INPUTS = {
    "an image without objects": [((64, 64), target(BOX)), ((64, 48), EMPTY)],
    "no objects at all": [((64, 64), EMPTY), ((64, 48), EMPTY)],
    "one image without objects": [((64, 64), EMPTY)],
    "one image": [((64, 64), target(BOX))],
    "boxes of one pixel": [((64, 64), target((10.0, 10.0, 11.0, 11.0), (63.0, 63.0, 64.0, 64.0)))] * 2,
    "boxes of a part of a pixel": [((64, 64), target((10.2, 10.2, 10.201, 10.201)))],
    "a box as large as the image": [((64, 64), target((0.0, 0.0, 64.0, 64.0)))],
    "the same box many times": [((64, 64), target(*[BOX] * 60))],
    "images smaller than a cell": [((1, 1), target((0.0, 0.0, 1.0, 1.0))), ((3, 2), EMPTY)],
    "odd sizes": [((33, 61), target((0.0, 1.0, 20.0, 30.0))), ((65, 47), target((20.0, 30.0, 46.5, 64.5)))],
    "a narrow image": [((32, 320), target((5.0, 3.0, 300.0, 30.0)))],
}


def with_masks(image, target):
    """Add masks that fill the boxes, which only some networks learn from."""
    y, x = torch.arange(image.shape[1])[:, None], torch.arange(image.shape[2])
    x1, y1, x2, y2 = target["boxes"].T[..., None, None]
    return target | {"masks": (x >= x1.floor()) & (x < x2) & (y >= y1.floor()) & (y < y2)}


def assert_step_is_finite(network, images, targets):
    targets = [with_masks(*pair) for pair in zip(images, targets, strict=True)]
    losses = network.train()(images, targets)
    assert all(loss.isfinite() for loss in losses.values()), losses
    sum(losses.values()).backward()
    broken = [n for n, p in network.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
    assert broken == []
    assert any(parameter.grad is not None for parameter in network.parameters())
    return losses


@ALL
@pytest.mark.parametrize("case", INPUTS)
def test_any_input_trains_and_is_detected_on(name, case):
    network = detector(name)
    images = [torch.randn(3, *size) for size, _ in INPUTS[case]]
    assert_step_is_finite(network, images, [wanted for _, wanted in INPUTS[case]])
    with torch.no_grad():
        for found, image in zip(network.eval()(images), images, strict=True):
            assert found["boxes"].isfinite().all()
            assert (found["boxes"] >= 0).all()
            assert (found["boxes"][:, [0, 2]] <= image.shape[2]).all()
            assert (found["boxes"][:, [1, 3]] <= image.shape[1]).all()
            assert (found["scores"].diff() <= 0).all()


@ALL
def test_one_class(name):
    network = detector(name, num_classes=1)
    assert_step_is_finite(network, [torch.randn(3, 64, 64)] * 2, [target(BOX), EMPTY])
    with torch.no_grad():
        assert all((found["labels"] == 1).all() for found in network.eval()([torch.randn(3, 64, 64)]))


BACKBONES = ["resnet18", "resnet20", "seresnet18", "resnetv2_18", "densenet121", "timm:convnext_atto"]
NECKS = ["fpn", "pafpn", "bifpn"]


def of_backbones():
    """Every detector on every backbone and neck, of which each backbone has one by default, and the others if slow."""
    for name in DETECTORS:
        with_necks = name in (*TWO_STAGES, "retinanet", "retinanet v2", "fcos")
        for i, backbone in enumerate(BACKBONES):
            for j, neck in enumerate(NECKS if with_necks else [None]):
                of_others = name == "retinanet v2" or (name in TWO_STAGES[1:] and i > 2)  # what the first one has too
                quick = not with_necks or (not of_others and i % 3 == j)
                yield pytest.param(name, backbone, neck, marks=() if quick else pytest.mark.slow)


@cache
def built(backbone):
    return create_backbone(backbone)


@pytest.mark.parametrize(("name", "backbone", "neck"), list(of_backbones()))
def test_any_backbone_and_neck(name, backbone, neck):
    body = copy.deepcopy(built(backbone))  # random weights of all its layers take longer than the step
    network = DETECTORS[name](body, NUM_CLASSES, **({"neck": neck} if neck else {}))
    assert_step_is_finite(network, [torch.randn(3, 64, 50), torch.randn(3, 40, 64)], [target(BOX), EMPTY])


@ALL
def test_a_batch_equals_its_single_images(name):
    network = detector(name).eval()
    shapes = [(60, 96), (64, 70), (33, 65)]  # all are padded to (64, 96)
    images = [torch.randn(3, *shape) for shape in shapes]
    with torch.no_grad():
        together, single = network(images), [network([image])[0] for image in images]
    for found, expected in zip(together, single, strict=True):
        assert len(found["boxes"]) > 3
        assert torch.equal(found["labels"], expected["labels"])
        torch.testing.assert_close(found["boxes"], expected["boxes"], rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(found["scores"], expected["scores"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in DETECTORS if name not in OF_CHANCE])
def test_losses_do_not_see_the_padding_of_targets(name):
    network = detector(name, norm="frozen").train()
    images = [torch.randn(3, 64, 64) for _ in range(3)]
    crowd = {
        "boxes": torch.tensor([BOX, (20.0, 10.0, 60.0, 50.0)]),
        "labels": torch.tensor([1, 2]),
        "crowd": torch.tensor([False, True]),
    }
    targets = [crowd, EMPTY, target((10.0, 20.0, 40.0, 50.0), label=2)]
    expected = network(images, targets)
    for loss_name, loss in network(images, pad_targets(targets, multiple=8)).items():
        torch.testing.assert_close(loss, expected[loss_name])
        assert loss > 0


@ALL
def test_a_crowd_over_everything_leaves_nothing_to_learn(name):
    crowd = target((-999.0, -999.0, 999.0, 999.0)) | {"crowd": torch.tensor([True])}
    losses = assert_step_is_finite(detector(name), [torch.randn(3, 64, 64)], [crowd])
    assert [loss.item() for loss in losses.values()] == [0] * len(losses)


@ALL
def test_outputs_that_are_not_finite_are_refused(name):
    network = detector(name).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(float("nan"))
    with pytest.raises(NonFiniteOutput, match="sample 0 of the batch, sample 1 of the batch"):
        network([torch.randn(3, 64, 64)] * 2)


@pytest.mark.parametrize("name", [name for name in DETECTORS if name != "retinanet v2"])
def test_another_number_of_classes_starts_from_a_checkpoint(name, tmp_path):
    first = detector(name, 4)
    state = {f"network.{key}": value for key, value in first.state_dict().items()}
    torch.save({"state_dict": state, "class_names": list("abcd")}, tmp_path / "a.ckpt")
    loaded = detector(name, 2, weights=tmp_path / "a.ckpt").state_dict()
    other = {key for key, value in first.state_dict().items() if not torch.equal(value, loaded[key])}
    assert other
    assert all(key.startswith(tuple(f"{layer}." for layer in first.class_layers)) for key in other)


def test_the_table_has_every_detector():
    parts = [getattr(detection, name) for name in detection.__all__]
    public = {part for part in parts if inspect.isclass(part) and issubclass(part, Detector)}
    assert {part.func for part in DETECTORS.values()} == public - {Detector}


@ALL
def test_an_exported_network_finds_the_same_in_a_fixed_number_of_rows(name, monkeypatch):
    torch.manual_seed(3)  # draws of which every detector finds some
    network = detector(name).eval()
    randomize(network)
    batch = pad_images([torch.randn(3, *size) for size in ((64, 48), (33, 61), (1, 1))])
    with torch.no_grad():
        expected = network.find(batch)
        monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
        found = network.find(batch)
    assert expected.counts.sum() > 10
    assert torch.equal(found.counts, expected.counts)
    assert found.columns.keys() == expected.columns.keys()
    rows = len(found["scores"]) // 3
    assert torch.equal(found.images, torch.arange(3).repeat_interleave(rows))
    kept = (torch.arange(rows) < found.counts[:, None]).flatten()
    for column, padded in found.columns.items():
        torch.testing.assert_close(padded[kept], expected[column], atol=1e-4, rtol=1e-4)
    assert not found["scores"][~kept].any()
    assert not found["boxes"][~kept].any()

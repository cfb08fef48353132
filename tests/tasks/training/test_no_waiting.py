"""No training step waits for the GPU; tested with fake tensors, which need no GPU."""

from functools import partial

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import DynamicOutputShapeException, FakeTensorMode

from vertebra.backbones import BackboneOptions, ResNet
from vertebra.backbones.blocks import BasicBlock
from vertebra.tasks.classification import ClassificationModule, image_classifier
from vertebra.tasks.classification.dataset import ClassificationBatch
from vertebra.tasks.detection import (
    ATSS,
    DetectionModule,
    ProposalSelection,
    cascade_rcnn,
    faster_rcnn,
    fcos,
    mask_rcnn,
    retinanet,
    rt_detr,
    ssd,
    yolox,
)
from vertebra.tasks.detection.dataset import DetectionBatch
from vertebra.tasks.detection.networks.rtdetr.matching import HungarianMatcher, assign
from vertebra.tasks.detection.parts.batch import ImageBatch, Targets
from vertebra.tasks.detection.parts.losses import GIoU
from vertebra.tasks.detection.parts.masks import MaskBatch
from vertebra.tasks.detection.parts.nms import grouped_nms
from vertebra.tasks.medical import MedicalModule, medical_classifier, study_classifier
from vertebra.tasks.medical.dataset import MedicalBatch
from vertebra.tasks.medical.targets import Classes, Findings, Grades
from vertebra.tasks.segmentation import SegmentationModule, fcn, losses
from vertebra.tasks.segmentation.dataset import SegmentationBatch
from vertebra.tasks.training.losses import CrossEntropy, FocalLoss
from vertebra.tasks.video import VideoModule, video_classifier
from vertebra.tasks.video.dataset import VideoBatch


@pytest.fixture(autouse=True)
def fake():
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        yield mode


def batch_on_a_gpu(num_ignored=0):
    images = torch.zeros(2, 3, 128, 160, device="cuda")
    sizes = torch.full((2, 2), 120, device="cuda")
    labels = torch.ones(2, 8, dtype=torch.int64, device="cuda")
    boxes, ignored = (torch.zeros(2, count, 4, device="cuda") for count in (8, num_ignored))
    bits = torch.zeros(1000, dtype=torch.uint8, device="cuda")
    masks = MaskBatch(bits, labels * 0, labels[..., None].expand(-1, -1, 4), sizes, (40, 30))
    return ImageBatch(images, sizes), Targets(boxes, labels, ignored, masks)


NAMES = ["a", "b", "c"]
EXTRAS = {"indices": torch.arange(2), "names": NAMES[:2], "skipped": []}
GROUPED = EXTRAS | {"groups": NAMES[:2]}


def pixels(*axes):
    return torch.zeros(2, 3, *axes, dtype=torch.uint8, device="cuda")


def labels(*axes, num_classes=3):
    return torch.randint(num_classes, (2, *axes), device="cuda")


def body(dim=2, **options):
    return ResNet(BasicBlock, (1, 1, 1, 1), BackboneOptions(**options), dim=dim, widths=(8, 8, 8, 8))


def detection_step(build=faster_rcnn, **options):
    images, targets = batch_on_a_gpu()
    batch = DetectionBatch(pixels(128, 160), images.sizes, targets, [], np.arange(3), [])
    return DetectionModule(build(body(), 3, **options), NAMES), batch


def segmentation_step(loss):
    sizes = torch.full((2, 2), 33, device="cuda")
    batch = SegmentationBatch(pixels(33, 33), sizes, labels(33, 33).to(torch.uint8), sizes, **EXTRAS)
    return SegmentationModule(fcn(body(), 3, aux=True), NAMES, loss=loss()), batch


def classification_step(loss=CrossEntropy):
    batch = ClassificationBatch(pixels(32, 32), labels(), **GROUPED)
    return ClassificationModule(image_classifier(body(), 3), NAMES, loss=loss()), batch


def video_step():
    clips = torch.zeros(2, 1, 3, 4, 32, 32, dtype=torch.uint8, device="cuda")
    batch = VideoBatch(clips, torch.zeros(2, 1, 4, device="cuda"), labels(), **GROUPED)
    return VideoModule(video_classifier(body(dim=3), 3), NAMES), batch


def medical_step(target, found=False):
    images = torch.zeros(2, 1, 16, 16, 16, device="cuda")
    truth = torch.zeros(2, 3, device="cuda") if found else labels()
    batch = MedicalBatch(images, [1, 1], truth, **GROUPED, kind=target.kind)
    return MedicalModule(medical_classifier(body(dim=3, in_channels=1), 3), NAMES, target=target), batch


def study_step(pooling):
    batch = MedicalBatch(torch.zeros(2, 3, 1, 32, 32, device="cuda"), [3, 1], labels(), **GROUPED, kind="classes")
    network = study_classifier(body(in_channels=1), 3, pooling=pooling)
    return MedicalModule(network, NAMES, target=Classes()), batch


WEIGHTS = [1.0, 2.0, 3.0]
# two blocks of a suppression, whose steps are launched one box at a time
FEW = {"proposals": ProposalSelection(per_level=80, per_image=50)}
STEPS = {
    "detection": partial(detection_step, **FEW),
    "detection retinanet": partial(detection_step, retinanet),
    "detection retinanet GIoU": partial(detection_step, retinanet, box_loss=GIoU(), head_norm="group"),
    "detection fcos": partial(detection_step, fcos),
    "detection fcos ATSS": partial(detection_step, fcos, assigner=ATSS(scale=8.0)),
    "detection masks": partial(detection_step, mask_rcnn, **FEW),
    "detection ssd": partial(detection_step, ssd),
    "detection cascade": partial(detection_step, cascade_rcnn, masks=True, **FEW),
    "detection yolox": partial(detection_step, yolox),
    **{
        f"segmentation {loss.__name__}": partial(segmentation_step, loss)
        for loss in (losses.CrossEntropy, losses.OHEM, losses.FocalLoss, losses.Tversky, losses.Dice, losses.Lovasz)
    },
    "segmentation weighted": partial(segmentation_step, partial(losses.CrossEntropy, WEIGHTS)),
    "segmentation sum": partial(segmentation_step, lambda: losses.Sum([losses.Dice(), losses.OHEM()], [1.0, 0.5])),
    "classification": classification_step,
    "classification smoothed": partial(classification_step, partial(CrossEntropy, label_smoothing=0.1)),
    "classification weighted": partial(classification_step, partial(FocalLoss, class_weights=[1.0, 2.0, 3.0])),
    "video": video_step,
    "medical classes": lambda: medical_step(Classes()),
    "medical focal": lambda: medical_step(Classes(gamma=2.0)),
    "medical grades": lambda: medical_step(Grades()),
    "medical findings": lambda: medical_step(Findings(gamma=2.0), found=True),
    "medical studies": lambda: study_step("mean"),
    "medical studies attention": lambda: study_step("attention"),
    "medical studies max": lambda: study_step("max"),
}


# the steps of Cascade R-CNN with masks, and of RetinaNet, have their parts
OF_OTHERS = ("detection masks", "detection retinanet GIoU")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in OF_OTHERS else name for name in STEPS]
)
def test_no_training_step_synchronizes(name, monkeypatch, on_a_gpu, blocking_copies):
    module, batch = STEPS[name]()
    on_a_gpu(module)
    monkeypatch.setattr(module, "log", lambda *args, **options: None)
    monkeypatch.setattr(module, "log_dict", lambda *args, **options: None)
    if name.startswith("detection"):
        module.training_step(batch, 0)  # which makes the anchors of this size
    with blocking_copies() as copies:
        loss = module.training_step(batch, 0)
    assert loss.device.type == "cuda"
    assert copies.count == 0


@pytest.mark.parametrize(
    ("options", "num_ignored"),
    [
        ({"neck": "bifpn", "head_norm": "batch"}, 2),
        pytest.param({}, 0, marks=pytest.mark.slow),
        pytest.param({}, 2, marks=pytest.mark.slow),
        pytest.param({"class_agnostic": True}, 0, marks=pytest.mark.slow),
        pytest.param({"class_agnostic": True}, 2, marks=pytest.mark.slow),
        pytest.param({"neck": "bifpn", "head_norm": "batch"}, 0, marks=pytest.mark.slow),
    ],
)
def test_no_synchronization_after_the_first_step(options, num_ignored, on_a_gpu, blocking_copies):
    detector = on_a_gpu(faster_rcnn(body(), 3, **FEW, **options))
    batch = batch_on_a_gpu(num_ignored)
    detector(*batch)  # which makes the anchors of this size
    with blocking_copies() as copies:
        losses = detector(*batch)
    assert all(loss.device.type == "cuda" for loss in losses.values())
    assert copies.count == 0


@pytest.mark.parametrize("num_ignored", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_rt_detr_waits_in_the_matcher_alone(num_ignored, on_a_gpu, blocking_copies):
    detector = on_a_gpu(rt_detr(body(), 3, num_queries=20))
    costs = []

    def match(logits, boxes, true_boxes, labels):
        costs.append(HungarianMatcher().costs(logits, boxes, true_boxes, labels))
        return torch.zeros(costs[-1].shape[:3], dtype=torch.int64, device="cuda")

    detector.matcher = match
    with blocking_copies() as copies:
        losses = detector(*batch_on_a_gpu(num_ignored))
    assert all(loss.device.type == "cuda" for loss in losses.values())
    assert copies.count == 0
    assert len(costs) == 1  # all layers at once
    with blocking_copies() as copies, pytest.raises(RuntimeError):  # a fake has no numbers to solve
        assign(costs[0])
    assert copies.count == 1


def test_blocking_operations_are_detected(blocking_copies):
    with blocking_copies() as copies:
        torch.arange(4).to("cuda")
        torch.zeros(2, 4, device="cuda")[:, [1, 0, 1, 0]]
    assert copies.count == 2
    boxes, groups = torch.zeros(9, 4, device="cuda"), torch.zeros(9, dtype=torch.int64, device="cuda")
    with pytest.raises(DynamicOutputShapeException):
        grouped_nms(boxes, boxes[:, 0], groups, 0.5)

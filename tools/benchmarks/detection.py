"""Contenders of the detection benchmark: Faster R-CNN of torchvision, detectron2 and this package."""

from __future__ import annotations

import importlib
from functools import partial
from importlib.util import find_spec

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

from vertebra.tasks.detection import faster_rcnn, load_weights
from vertebra.tools.benchmarks.timing import Contender, Workload, both_precisions, peer_and_ours

NUM_OBJECTS = 15  # per image
DETECTRON2 = {  # backbone -> detectron2's configuration
    "resnet50": "COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml",
    "resnet101": "COCO-Detection/faster_rcnn_R_101_FPN_3x.yaml",
}


def contenders(backbone: str, batch: int, size: tuple[int, int]) -> list[Contender]:
    """Return torchvision's detector and ours, each in float32 and in the fast mode.

    detectron2's is added if it is installed. It starts from other random weights, and keeps 1000 proposals per image in
    training instead of 2000, so its workload is slightly smaller.

    Args:
        backbone: registered name that torchvision has too.
        batch: batch size.
        size: (H, W) of the images.
    """
    entries = peer_and_ours("torchvision", partial(workload, backbone=backbone, batch=batch, size=size))
    if backbone not in DETECTRON2 or find_spec("detectron2") is None:
        return entries
    build = partial(_build_detectron2, backbone=backbone, batch=batch, size=size)
    return entries + both_precisions("detectron2", build)


def workload(ours: bool, fast: bool, backbone: str, batch: int, size: tuple[int, int]) -> Workload:
    """Return our or torchvision's detector with its input; see `peer_and_ours`."""
    images, boxes, labels = _inputs(batch, size)
    device = images.device
    targets = [{"boxes": box, "labels": labels + 1} for box in boxes]
    layout = torch.channels_last if fast else torch.contiguous_format
    body = resnet_fpn_backbone(backbone_name=backbone, weights=None, norm_layer=nn.BatchNorm2d, trainable_layers=5)
    network: nn.Module = FasterRCNN(body, 91, min_size=min(size), max_size=max(size))
    if ours:
        detector = faster_rcnn(backbone, 90)
        load_weights(detector, network.state_dict())  # the same weights: the same proposals, so the same work
        network = detector
    network = network.to(device).to(memory_format=layout)
    inputs = list(images.contiguous(memory_format=layout))

    def loss() -> Tensor:
        return torch.stack(list(network(inputs, targets).values())).sum()

    # one image: the latency of a detector in use
    return Workload(network, loss, lambda model: model(inputs[:1]))


def _build_detectron2(fast: bool, backbone: str, batch: int, size: tuple[int, int]) -> Workload:
    modeling, structures, zoo, events = (
        importlib.import_module(f"detectron2.{name}")
        for name in ("modeling", "structures", "model_zoo", "utils.events")
    )
    images, boxes, labels = _inputs(batch, size)
    configuration = zoo.get_config(DETECTRON2[backbone], trained=False)
    configuration.merge_from_list(["MODEL.DEVICE", str(images.device), "MODEL.WEIGHTS", ""])
    configuration.merge_from_list(["MODEL.ROI_HEADS.NUM_CLASSES", 90])
    # batch norm and no frozen stages, as in the other two
    configuration.merge_from_list(["MODEL.RESNETS.NORM", "BN", "MODEL.BACKBONE.FREEZE_AT", 0])
    layout = torch.channels_last if fast else torch.contiguous_format
    network = modeling.build_model(configuration).to(memory_format=layout)
    samples = [
        {
            "image": image * 58 + 114,  # detectron2 normalizes inside, from 0..255
            "instances": structures.Instances(size, gt_boxes=structures.Boxes(box), gt_classes=labels),
        }
        for image, box in zip(images.contiguous(memory_format=layout), boxes, strict=True)
    ]

    def loss() -> Tensor:
        with events.EventStorage():
            return torch.stack(list(network(samples).values())).sum()

    return Workload(network, loss, lambda model: model(samples[:1]))


def _inputs(batch: int, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Return normalized images (N, 3, H, W), boxes (N, G, 4) xyxy in pixels, and labels (G,) from 0."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    height, width = size
    images = torch.randn(batch, 3, height, width, device=device)
    corners = torch.rand(batch, NUM_OBJECTS, 2, device=device) * torch.tensor([width, height], device=device) * 0.7
    sides = torch.rand(batch, NUM_OBJECTS, 2, device=device) * torch.tensor([width, height], device=device) * 0.25 + 4
    return images, torch.cat((corners, corners + sides), dim=2), torch.arange(NUM_OBJECTS, device=device)

"""Faster R-CNN beside torchvision's."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

from tasks.detection import faster_rcnn, load_weights
from tools.benchmarks.timing import Contender, Workload, both_ways

NUM_OBJECTS = 15  # in an image


def contenders(backbone: str, batch: int, size: tuple[int, int]) -> list[Contender]:
    """Return torchvision's detector and ours, each in plain and in fast mode.

    Args:
        backbone: a registered name that torchvision has too.
        batch: images in a batch.
        size: height and width.
    """
    return both_ways("torchvision", partial(_build, backbone=backbone, batch=batch, size=size))


def _build(ours: bool, fast: bool, backbone: str, batch: int, size: tuple[int, int]) -> Workload:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    height, width = size
    images = torch.randn(batch, 3, height, width, device=device)
    corners = torch.rand(batch, NUM_OBJECTS, 2, device=device) * torch.tensor([width, height], device=device) * 0.7
    sides = torch.rand(batch, NUM_OBJECTS, 2, device=device) * torch.tensor([width, height], device=device) * 0.25 + 4
    boxes = torch.cat((corners, corners + sides), dim=2)
    targets = [{"boxes": box, "labels": torch.arange(NUM_OBJECTS, device=device) + 1} for box in boxes]

    layout = torch.channels_last if fast else torch.contiguous_format
    body = resnet_fpn_backbone(backbone_name=backbone, weights=None, norm_layer=nn.BatchNorm2d, trainable_layers=5)
    network: nn.Module = FasterRCNN(body, 91, min_size=min(size), max_size=max(size))
    if ours:
        detector = faster_rcnn(backbone, 90)
        load_weights(detector, network.state_dict())  # the same work, down to the proposals
        network = detector
    network = network.to(device).to(memory_format=layout)
    laid_out = list(images.contiguous(memory_format=layout))

    def loss() -> Tensor:
        return torch.stack(list(network(laid_out, targets).values())).sum()

    return Workload(network, loss, lambda used: used(laid_out[:1]))

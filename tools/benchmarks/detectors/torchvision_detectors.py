"""torchvision's detectors and ours."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS, FasterRCNN, MaskRCNN, RetinaNet, ssd300_vgg16
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops import FrozenBatchNorm2d
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from vertebra.backbones import create_backbone
from vertebra.tasks.detection import Detector, faster_rcnn, fcos, mask_rcnn, retinanet, ssd300
from vertebra.tools.benchmarks.detectors.inputs import NUM_CLASSES, draw, layout
from vertebra.tools.benchmarks.detectors.ours import ours
from vertebra.tools.benchmarks.timing import Workload

OURS: dict[str, Callable[..., Detector]] = {
    "faster_rcnn": faster_rcnn,
    "mask_rcnn": mask_rcnn,
    "retinanet": retinanet,
    "fcos": fcos,
    "ssd300": ssd300,
}
RESIDUAL_SCALE = 0.2  # weight of the last norm of a block
SSD_LEAST = 257  # pixels of height and width
TWO_STAGES = {"faster_rcnn": FasterRCNN, "mask_rcnn": MaskRCNN}
ONE_STAGE = {"retinanet": RetinaNet, "fcos": FCOS}


def build(
    is_ours: bool,
    fast: bool,
    network: str,
    backbone: str,
    batch: int,
    size: tuple[int, int],
    finetuned: bool = False,
) -> Workload:
    """Return our or torchvision's detector with its input; see `peer_and_ours`.

    Args:
        is_ours: whether it is ours.
        fast: whether memory is channels-last.
        network: key of `OURS`.
        backbone: registered name that torchvision has too.
        batch: batch size.
        size: (H, W) of the images.
        finetuned: whether norms are frozen, and the stem and C2, as where published weights are fine-tuned.
    """
    inputs, masks = draw(batch, size, fast), network == "mask_rcnn"
    theirs = _theirs(network, backbone, size, finetuned)
    if is_ours:
        body = create_backbone(backbone, norm="frozen", frozen_stages=2) if finetuned else backbone
        return ours(OURS[network](body, NUM_CLASSES), theirs.state_dict(), inputs, fast, masks)
    theirs = theirs.to(inputs.images.device).to(memory_format=layout(fast))
    images, targets = list(inputs.images), inputs.targets(masks)

    def loss() -> Tensor:
        return torch.stack(list(theirs(images, targets).values())).sum()

    return Workload(theirs, loss, lambda model: model(images[:1]))


def _theirs(network: str, backbone: str, size: tuple[int, int], finetuned: bool = False) -> nn.Module:
    sizes = {"min_size": min(size), "max_size": max(size)}
    body = partial(
        _frozen_body if finetuned else resnet_fpn_backbone,
        backbone_name=backbone,
        weights=None,
        norm_layer=FrozenBatchNorm2d if finetuned else nn.BatchNorm2d,
        trainable_layers=3 if finetuned else 5,
    )
    if network in TWO_STAGES:
        return TWO_STAGES[network](body(), NUM_CLASSES + 1, **sizes)
    if network in ONE_STAGE:
        pyramid = body(returned_layers=[2, 3, 4], extra_blocks=LastLevelP6P7(256, 256))
        return ONE_STAGE[network](pyramid, NUM_CLASSES + 1, **sizes)
    if min(size) < SSD_LEAST:
        raise ValueError(f"size is {size}; torchvision's SSD300 needs at least {SSD_LEAST} pixels for its last level.")
    detector = ssd300_vgg16(weights=None, weights_backbone=None, num_classes=NUM_CLASSES + 1)
    detector.transform.fixed_size = (size[1], size[0])  # else every image is resized to 300 x 300
    return detector


def _frozen_body(**options: Any) -> nn.Module:
    body = resnet_fpn_backbone(**options)
    last = "bn2" if options["backbone_name"] in ("resnet18", "resnet34") else "bn3"
    for name, module in body.named_modules():
        # random weights under frozen norms would double the variance in every block, up to overflow
        if isinstance(module, FrozenBatchNorm2d) and name.endswith(last):
            module.weight.fill_(RESIDUAL_SCALE)
    return body

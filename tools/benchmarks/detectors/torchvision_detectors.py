"""torchvision's detectors and ours."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS, FasterRCNN, MaskRCNN, RetinaNet, ssd300_vgg16
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

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
SSD_LEAST = 257  # pixels of height and width
TWO_STAGES = {"faster_rcnn": FasterRCNN, "mask_rcnn": MaskRCNN}
ONE_STAGE = {"retinanet": RetinaNet, "fcos": FCOS}


def build(is_ours: bool, fast: bool, network: str, backbone: str, batch: int, size: tuple[int, int]) -> Workload:
    """Return our or torchvision's detector with its input; see `peer_and_ours`."""
    inputs, masks = draw(batch, size, fast), network == "mask_rcnn"
    theirs = _theirs(network, backbone, size)
    if is_ours:
        return ours(OURS[network](backbone, NUM_CLASSES), theirs.state_dict(), inputs, fast, masks)
    theirs = theirs.to(inputs.images.device).to(memory_format=layout(fast))
    images, targets = list(inputs.images), inputs.targets(masks)

    def loss() -> Tensor:
        return torch.stack(list(theirs(images, targets).values())).sum()

    return Workload(theirs, loss, lambda model: model(images[:1]))


def _theirs(network: str, backbone: str, size: tuple[int, int]) -> nn.Module:
    sizes = {"min_size": min(size), "max_size": max(size)}
    body = partial(
        resnet_fpn_backbone, backbone_name=backbone, weights=None, norm_layer=nn.BatchNorm2d, trainable_layers=5
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

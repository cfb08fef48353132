"""Contenders of the segmentation benchmark: DeepLabV3 of torchvision, segmentation_models_pytorch and this package."""

from __future__ import annotations

import importlib
from functools import partial
from importlib.util import find_spec

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models import segmentation

from vertebra.tasks.segmentation import deeplabv3, load_weights
from vertebra.tools.benchmarks.timing import Contender, Workload, both_precisions, peer_and_ours

SMP = "segmentation_models_pytorch"
NUM_CLASSES = 21  # Pascal VOC with background
AUX_WEIGHT = 0.4  # PSPNet's, Zhao et al. 2017


def contenders(backbone: str, batch: int, size: tuple[int, int]) -> list[Contender]:
    """Return torchvision's DeepLabV3 with auxiliary head and ours, each in float32 and in the fast mode.

    segmentation_models_pytorch's is added if it is installed; it has no auxiliary head, so its workload is smaller.

    Args:
        backbone: `resnet50` or `resnet101`.
        batch: batch size.
        size: (H, W) of the images.
    """
    entries = peer_and_ours("torchvision", partial(workload, backbone=backbone, batch=batch, size=size))
    if find_spec(SMP) is None:
        return entries
    build = partial(_build_smp, backbone=backbone, batch=batch, size=size)
    return entries + both_precisions(f"{SMP} without auxiliary head", build)


def workload(ours: bool, fast: bool, backbone: str, batch: int, size: tuple[int, int]) -> Workload:
    """Return our or torchvision's segmenter with its input; see `peer_and_ours`."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    layout = torch.channels_last if fast else torch.contiguous_format
    images = torch.randn(batch, 3, *size, device=device).contiguous(memory_format=layout)
    labels = torch.randint(NUM_CLASSES, (batch, *size), device=device)
    options = {"weights": None, "weights_backbone": None, "aux_loss": True, "num_classes": NUM_CLASSES}
    theirs = getattr(segmentation, f"deeplabv3_{backbone}")(**options)
    if not ours:
        theirs = theirs.to(device).to(memory_format=layout)

        def their_loss() -> Tensor:
            logits = theirs(images)
            return _loss(logits["out"], logits["aux"], labels)

        return Workload(theirs, their_loss, lambda model: model(images))

    # output stride 8 is torchvision's only one
    network = deeplabv3(backbone, NUM_CLASSES, output_stride=8, aux=True)
    load_weights(network, theirs.state_dict())
    network = network.to(device).to(memory_format=layout)

    def loss() -> Tensor:
        logits = network.all_logits(images)
        assert logits.aux is not None  # for mypy: aux=True above
        return _loss(logits.main, logits.aux, labels)

    return Workload(network, loss, lambda model: model(images))


def _build_smp(fast: bool, backbone: str, batch: int, size: tuple[int, int]) -> Workload:
    smp = importlib.import_module(SMP)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    layout = torch.channels_last if fast else torch.contiguous_format
    images = torch.randn(batch, 3, *size, device=device).contiguous(memory_format=layout)
    labels = torch.randint(NUM_CLASSES, (batch, *size), device=device)
    network = smp.DeepLabV3(backbone, encoder_weights=None, encoder_output_stride=8, classes=NUM_CLASSES)
    network = network.to(device).to(memory_format=layout)

    def loss() -> Tensor:
        return F.cross_entropy(network(images).float(), labels)

    return Workload(network, loss, lambda model: model(images))


def _loss(logits: Tensor, aux_logits: Tensor, labels: Tensor) -> Tensor:
    # float32: under autocast the logits are bfloat16, whose log-softmax would lose precision
    return F.cross_entropy(logits.float(), labels) + AUX_WEIGHT * F.cross_entropy(aux_logits.float(), labels)

"""DeepLabV3 beside torchvision's and segmentation_models_pytorch's."""

from __future__ import annotations

import importlib
from functools import partial
from importlib.util import find_spec

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models import segmentation

from vertebra.tasks.segmentation import deeplabv3, load_weights
from vertebra.tools.benchmarks.timing import Contender, Workload, both_ways, in_both_modes

SMP = "segmentation_models_pytorch"
NUM_CLASSES = 21
AUX_WEIGHT = 0.4


def contenders(backbone: str, batch: int, size: tuple[int, int]) -> list[Contender]:
    """Return torchvision's DeepLabV3 with its auxiliary head and ours, each in plain and in fast mode.

    segmentation_models_pytorch's, which has no such head and so does less, is added where it is installed.

    Args:
        backbone: `resnet50` or `resnet101`.
        batch: images in a batch.
        size: height and width.
    """
    entries = both_ways("torchvision", partial(workload, backbone=backbone, batch=batch, size=size))
    if find_spec(SMP) is None:
        return entries
    build = partial(_build_smp, backbone=backbone, batch=batch, size=size)
    return entries + in_both_modes(f"{SMP} without a second head", build)


def workload(ours: bool, fast: bool, backbone: str, batch: int, size: tuple[int, int]) -> Workload:
    """Return a segmenter and what it is timed on: ours or the peer's, plain or fast; see `both_ways`."""
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
            found = theirs(images)
            return _loss(found["out"], found["aux"], labels)

        return Workload(theirs, their_loss, lambda used: used(images))

    network = deeplabv3(backbone, NUM_CLASSES, output_stride=8, aux=True)
    load_weights(network, theirs.state_dict())
    network = network.to(device).to(memory_format=layout)

    def loss() -> Tensor:
        logits = network.all_logits(images)
        assert logits.aux is not None  # it was asked for
        return _loss(logits.main, logits.aux, labels)

    return Workload(network, loss, lambda used: used(images))


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

    return Workload(network, loss, lambda used: used(images))


def _loss(logits: Tensor, aux_logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits.float(), labels) + AUX_WEIGHT * F.cross_entropy(aux_logits.float(), labels)

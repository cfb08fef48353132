"""DeepLabV3 beside torchvision's."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models import segmentation

from tasks.segmentation import deeplabv3, load_weights
from tools.benchmarks.timing import Contender, Workload, both_ways

NUM_CLASSES = 21
AUX_WEIGHT = 0.4


def contenders(backbone: str, batch: int, size: tuple[int, int]) -> list[Contender]:
    """Return torchvision's DeepLabV3 with its auxiliary head and ours, each in plain and in fast mode.

    Args:
        backbone: `resnet50` or `resnet101`.
        batch: images in a batch.
        size: height and width.
    """
    return both_ways("torchvision", partial(_build, backbone=backbone, batch=batch, size=size))


def _build(ours: bool, fast: bool, backbone: str, batch: int, size: tuple[int, int]) -> Workload:
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

        return Workload(theirs, their_loss, partial(theirs, images))

    network = deeplabv3(backbone, NUM_CLASSES, output_stride=8, aux=True)
    load_weights(network, theirs.state_dict())
    network = network.to(device).to(memory_format=layout)

    def loss() -> Tensor:
        logits = network.all_logits(images)
        assert logits.aux is not None  # it was asked for
        return _loss(logits.main, logits.aux, labels)

    return Workload(network, loss, partial(network, images))


def _loss(logits: Tensor, aux_logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits.float(), labels) + AUX_WEIGHT * F.cross_entropy(aux_logits.float(), labels)

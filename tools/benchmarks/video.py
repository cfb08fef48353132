"""Classifiers of clips beside torchvision's and pytorchvideo's."""

from __future__ import annotations

import importlib
import warnings
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import video

from vertebra.backbones.slowfast import ALPHA
from vertebra.tasks.video import load_weights, video_classifier
from vertebra.tools.benchmarks.timing import Contender, Workload, both_ways

NUM_CLASSES = 400


def contenders(backbone: str, batch: int, size: tuple[int, int, int]) -> list[Contender]:
    """Return the peer's classifier of clips and ours, each in plain and in fast mode.

    Args:
        backbone: a registered name that torchvision or pytorchvideo has too.
        batch: clips in a batch.
        size: frames, height and width.
    """
    peer = "torchvision" if hasattr(video, backbone) else "pytorchvideo"
    entries = both_ways(peer, partial(workload, backbone=backbone, batch=batch, size=size))
    if _theirs(backbone) is None:
        print(f"{peer} cannot be imported, so that our {backbone} is timed alone. For both: pip install {peer}.\n")
        return [entry for entry in entries if not entry.name.startswith(peer)]
    return entries


def workload(ours: bool, fast: bool, backbone: str, batch: int, size: tuple[int, int, int]) -> Workload:
    """Return a classifier and what it is timed on: ours or the peer's, plain or fast; see `both_ways`."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    layout = torch.channels_last_3d if fast else torch.contiguous_format
    clips = torch.randn(batch, 3, *size, device=device).contiguous(memory_format=layout)
    labels = torch.randint(NUM_CLASSES, (batch,), device=device)
    network = _theirs(backbone)
    if ours or network is None:
        classifier = video_classifier(backbone, NUM_CLASSES)
        if network is not None:
            load_weights(classifier, network.state_dict())
        network = classifier
    network = network.to(device).to(memory_format=layout)

    def loss() -> Tensor:
        return F.cross_entropy(network(clips).float(), labels)

    return Workload(network, loss, lambda used: used(clips))


class _TwoPaths(nn.Module):
    """SlowFast of pytorchvideo, which takes what each path is to see, in a list that it changes."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, clips: Tensor) -> Tensor:
        return self.network([clips[:, :, ::ALPHA], clips])


def _theirs(backbone: str) -> nn.Module | None:
    """Build the peer's network, or none where its package cannot be imported."""
    if hasattr(video, backbone):
        return getattr(video, backbone)(num_classes=NUM_CLASSES)
    try:
        with warnings.catch_warnings():  # of torch, about what pytorchvideo calls
            warnings.simplefilter("ignore")
            hub = importlib.import_module("pytorchvideo.models.hub")
    except ImportError:
        return None
    network = getattr(hub, backbone)()
    network.blocks[-1].activation = None  # some end in probabilities
    for module in list(network.modules()):  # their pooling is as large as the maps of the papers' clips
        for name, child in module.named_children():
            if isinstance(child, nn.AvgPool3d):
                setattr(module, name, nn.AdaptiveAvgPool3d(1))
    return _TwoPaths(network) if backbone.startswith("slowfast") else network

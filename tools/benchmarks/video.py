"""Classifiers of clips beside torchvision's and pytorchvideo's."""

from __future__ import annotations

import importlib
import warnings
from contextlib import suppress
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import video

from backbones.slowfast import ALPHA
from tasks.video import load_weights, video_classifier
from tools.benchmarks.timing import Contender, Workload, both_ways

NUM_CLASSES = 400


def contenders(backbone: str, batch: int, size: tuple[int, int, int]) -> list[Contender]:
    """Return the peer's classifier of clips and ours, each in plain and in fast mode.

    Args:
        backbone: a registered name that torchvision or pytorchvideo has too.
        batch: clips in a batch.
        size: frames, height and width.
    """
    peer = "torchvision" if hasattr(video, backbone) else "pytorchvideo"
    entries = both_ways(peer, partial(_build, backbone=backbone, batch=batch, size=size))
    try:
        _theirs(backbone)
    except ImportError as error:
        print(f"{peer} cannot be imported ({error}), so that {backbone} is timed alone. pip install {peer}.\n")
        return [entry for entry in entries if not entry.name.startswith(peer)]
    return entries


def _build(ours: bool, fast: bool, backbone: str, batch: int, size: tuple[int, int, int]) -> Workload:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    layout = torch.channels_last_3d if fast else torch.contiguous_format
    clips: Any = torch.randn(batch, 3, *size, device=device).contiguous(memory_format=layout)
    labels = torch.randint(NUM_CLASSES, (batch,), device=device)
    if ours:
        network: nn.Module = video_classifier(backbone, NUM_CLASSES)
        with suppress(ImportError):  # then there is nobody to be compared with
            load_weights(network, _theirs(backbone).state_dict())
    else:
        network = _theirs(backbone)
        if backbone.startswith("slowfast"):  # its data cut out what the slow path sees
            clips = [clips[:, :, ::ALPHA].contiguous(memory_format=layout), clips]
    network = network.to(device).to(memory_format=layout)

    def loss() -> Tensor:
        return F.cross_entropy(network(clips).float(), labels)

    return Workload(network, loss, partial(network, clips))


def _theirs(backbone: str) -> nn.Module:
    if hasattr(video, backbone):
        return getattr(video, backbone)(num_classes=NUM_CLASSES)
    with warnings.catch_warnings():  # of torch, about what pytorchvideo calls
        warnings.simplefilter("ignore")
        network = getattr(importlib.import_module("pytorchvideo.models.hub"), backbone)()
    network.blocks[-1].activation = None  # some end in probabilities
    for module in list(network.modules()):  # their pooling is as large as the maps of the papers' clips
        for name, child in module.named_children():
            if isinstance(child, nn.AvgPool3d):
                setattr(module, name, nn.AdaptiveAvgPool3d(1))
    return network

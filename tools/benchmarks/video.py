"""Contenders of the video benchmark: classifiers of torchvision or pytorchvideo, and of this package."""

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
from vertebra.tools.benchmarks.timing import Contender, Workload, peer_and_ours

NUM_CLASSES = 400  # Kinetics-400


def contenders(backbone: str, batch: int, size: tuple[int, int, int]) -> list[Contender]:
    """Return the peer's video classifier and ours, each in float32 and in the fast mode.

    Args:
        backbone: registered name that torchvision or pytorchvideo has too.
        batch: batch size.
        size: (T, H, W) of the clips.
    """
    # torchvision is a dependency, pytorchvideo is not
    peer = "torchvision" if hasattr(video, backbone) else "pytorchvideo"
    entries = peer_and_ours(peer, partial(workload, backbone=backbone, batch=batch, size=size))
    if _theirs(backbone) is None:
        print(f"{peer} cannot be imported, so only our {backbone} is measured. To compare: pip install {peer}.\n")
        return [entry for entry in entries if not entry.name.startswith(peer)]
    return entries


def workload(ours: bool, fast: bool, backbone: str, batch: int, size: tuple[int, int, int]) -> Workload:
    """Return our or the peer's classifier with its input; see `peer_and_ours`."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    layout = torch.channels_last_3d if fast else torch.contiguous_format
    clips = torch.randn(batch, 3, *size, device=device).contiguous(memory_format=layout)
    labels = torch.randint(NUM_CLASSES, (batch,), device=device)
    network = _theirs(backbone)
    if network is None and not ours:
        raise ImportError(f"there is no {backbone} to compare with; to compare: pip install pytorchvideo.")
    if ours or network is None:
        classifier = video_classifier(backbone, NUM_CLASSES)
        if network is not None:
            load_weights(classifier, network.state_dict())
        network = classifier
    network = network.to(device).to(memory_format=layout)

    def loss() -> Tensor:
        return F.cross_entropy(network(clips).float(), labels)

    return Workload(network, loss, lambda model: model(clips))


class _SlowFastInput(nn.Module):
    """Adapter of pytorchvideo's SlowFast, which expects a list of the inputs of its two pathways and modifies it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, clips: Tensor) -> Tensor:
        return self.network([clips[:, :, ::ALPHA], clips])


def _theirs(backbone: str) -> nn.Module | None:
    """Build the peer's network; None if its package cannot be imported."""
    if hasattr(video, backbone):
        return getattr(video, backbone)(num_classes=NUM_CLASSES)
    try:
        with warnings.catch_warnings():  # torch's deprecations, raised by pytorchvideo
            warnings.simplefilter("ignore")
            hub = importlib.import_module("pytorchvideo.models.hub")
    except ImportError:
        return None
    network = getattr(hub, backbone)()
    network.blocks[-1].activation = None  # some networks end in a softmax, and the loss needs logits
    # pooling windows are hard-coded for the papers' clip size; adaptive pooling accepts any
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.AvgPool3d):
                setattr(module, name, nn.AdaptiveAvgPool3d(1))
    return _SlowFastInput(network) if backbone.startswith("slowfast") else network

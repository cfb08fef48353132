"""Backbones beside the same networks of timm and torchvision, up to the pooled features."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import timm
import torch
import torchvision
from torch import Tensor, nn

from backbones import create_backbone
from backbones.folding import fold_norms
from tools.benchmarks.timing import Contender, Workload


class Case(NamedTuple):
    """A network, whose it is besides ours, and what it is timed on.

    Attributes:
        name: registered here, and the peer's too.
        peer: `timm` or `torchvision`.
        shape: of a batch.
    """

    name: str
    peer: str
    shape: tuple[int, ...]


CASES = (
    Case("resnet50", "torchvision", (8, 3, 160, 160)),
    Case("resnet50", "timm", (8, 3, 160, 160)),
    Case("resnet50d", "timm", (8, 3, 160, 160)),
    Case("resnext50_32x4d", "torchvision", (8, 3, 160, 160)),
    Case("seresnet50", "timm", (8, 3, 160, 160)),
    Case("r2plus1d_18", "torchvision", (2, 3, 8, 80, 80)),
)


def contenders(case: Case, bf16: bool) -> list[Contender]:
    """Return the peer's network, ours, ours with activation checkpointing, and ours with its norms folded."""
    return [
        Contender(case.peer, partial(_theirs, case), bf16),
        Contender("ours", partial(_ours, case), bf16),
        Contender("ours, checkpointing", partial(_ours, case, checkpointing=True), bf16),
        Contender("ours, folded", partial(_ours, case, folded=True), bf16),
    ]


class _Pooled(nn.Module):
    """A backbone's coarsest map, averaged, which is what the peers' networks give without their classifiers."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, images: Tensor) -> Tensor:
        (features,) = self.body(images).values()
        return features.mean(dim=tuple(range(2, features.dim())))


def _ours(case: Case, checkpointing: bool = False, folded: bool = False) -> Workload:
    body = create_backbone(case.name, out_levels=("C5",), checkpointing=checkpointing)
    if folded:
        fold_norms(body.eval())
    return _workload(_Pooled(body), case)


def _theirs(case: Case) -> Workload:
    if case.peer == "timm":
        return _workload(timm.create_model(case.name, num_classes=0), case)
    package = torchvision.models.video if len(case.shape) == 5 else torchvision.models
    network = getattr(package, case.name)()
    network.fc = nn.Identity()
    return _workload(network, case)


def _workload(network: nn.Module, case: Case) -> Workload:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    layout = torch.channels_last if len(case.shape) == 4 else torch.channels_last_3d
    network = network.to(device).to(memory_format=layout)
    images = torch.randn(case.shape, device=device).contiguous(memory_format=layout)

    def loss() -> Tensor:
        return network(images).float().square().mean()

    return Workload(network, loss, partial(network, images))

"""Backbones beside the same networks of timm and torchvision, up to the pooled features."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import timm
import torch
import torchvision
from torch import Tensor, nn

from vertebra.backbones import create_backbone
from vertebra.tools.benchmarks.table import RATIO, Table
from vertebra.tools.benchmarks.timing import (
    Contender,
    Workload,
    inference,
    memory_of_a_step,
    ratios,
    time_in_turn,
    training_step,
)


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
        Contender("ours, folded", partial(_ours, case), bf16, folded=True),
    ]


class _Pooled(nn.Module):
    """A backbone's coarsest map, averaged, which is what the peers' networks give without their classifiers."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, images: Tensor) -> Tensor:
        (features,) = self.body(images).values()
        return features.mean(dim=tuple(range(2, features.dim())))


def _ours(case: Case, checkpointing: bool = False) -> Workload:
    body = create_backbone(case.name, out_levels=("C5",), checkpointing=checkpointing)
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

    return Workload(network, loss, lambda used: used(images))


COLUMNS = (
    f"training{RATIO}",
    f"inference{RATIO}",
    f"inference, norms folded{RATIO}",
    "memory of the peer's step, MiB",
    "of ours",
    "of ours, checkpointing",
    "speed with checkpointing, of ours",
)


def table_of(bf16: bool, only: Sequence[str] | None, rounds: int) -> Table:
    """Time each network beside its peer; ratios are to the peer's, and that of checkpointing to ours without.

    Args:
        bf16: under bfloat16 autocast.
        only: names of the networks; None for all.
        rounds: that count.

    Raises:
        ValueError: one of `only` is none of them.
    """
    names = list(dict.fromkeys(case.name for case in CASES))
    if unknown := sorted(set(only or ()) - set(names)):
        raise ValueError(f"{', '.join(unknown)} is not among the networks that are timed: {', '.join(names)}.")
    precision = "bf16" if bf16 else "float32"
    table = Table(f"backbones, {precision}, channels_last", COLUMNS, ("torch", "torchvision", "timm"), rounds)
    for case in CASES:
        if only and case.name not in only:
            continue
        entries = contenders(case, bf16)
        works = [entry.build() for entry in entries]
        steps = [training_step(*pair) for pair in zip(entries[:3], works, strict=False)]
        peer, own, slower = time_in_turn(steps, rounds)
        runs = [inference(entries[i], works[i]) for i in (0, 1, 3)]
        peer_run, own_run, folded_run = time_in_turn(runs, rounds)
        del works, steps, runs
        table.rows[f"{case.name}, {' x '.join(map(str, case.shape))}, beside {case.peer}"] = (
            ratios(own, peer),
            ratios(own_run, peer_run),
            ratios(folded_run, peer_run),
            *(memory_of_a_step(entry) for entry in entries[:3]),
            ratios(slower, own),
        )
    return table

"""Benchmark of backbones against the same networks in timm and torchvision, up to the pooled features."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import timm
import torch
import torchvision
from torch import Tensor, nn

from vertebra.backbones import create_backbone
from vertebra.tools.benchmarks.table import SPEEDUP, Table
from vertebra.tools.benchmarks.timing import (
    Contender,
    Workload,
    inference,
    peak_memory,
    speedups,
    time_interleaved,
    training_step,
)


class Case(NamedTuple):
    """A backbone, the library to compare with, and the input.

    Attributes:
        name: registered name, which is also the library's.
        peer: `timm` or `torchvision`.
        shape: (N, C, H, W) or (N, C, T, H, W) of a batch.
    """

    name: str
    peer: str
    shape: tuple[int, ...]


# one network per kind of block: bottleneck, deep stem, grouped, with attention, factorized 3-D; small inputs, so that a
# CPU can run the benchmark
CASES = (
    Case("resnet50", "torchvision", (8, 3, 160, 160)),
    Case("resnet50", "timm", (8, 3, 160, 160)),
    Case("resnet50d", "timm", (8, 3, 160, 160)),
    Case("resnext50_32x4d", "torchvision", (8, 3, 160, 160)),
    Case("seresnet50", "timm", (8, 3, 160, 160)),
    Case("r2plus1d_18", "torchvision", (2, 3, 8, 80, 80)),
)


def contenders(case: Case, bf16: bool) -> list[Contender]:
    """Return the peer's network, ours, ours with activation checkpointing, and ours with folded norms."""
    return [
        Contender(case.peer, partial(_theirs, case), bf16),
        Contender("ours", partial(_ours, case), bf16),
        Contender("ours, checkpointing", partial(_ours, case, checkpointing=True), bf16),
        Contender("ours, folded", partial(_ours, case), bf16, folded=True),
    ]


class _Pooled(nn.Module):
    """Global average pooling of C5, as in the peers' networks without their classifiers."""

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
    network.fc = nn.Identity()  # ours has no classifier either
    return _workload(network, case)


def _workload(network: nn.Module, case: Case) -> Workload:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    # the fastest layout of convolutions, for both: the comparison is of networks and not of settings
    layout = torch.channels_last if len(case.shape) == 4 else torch.channels_last_3d
    network = network.to(device).to(memory_format=layout)
    images = torch.randn(case.shape, device=device).contiguous(memory_format=layout)

    def loss() -> Tensor:
        return network(images).float().square().mean()  # any scalar: only the cost of the backward pass matters

    return Workload(network, loss, lambda used: used(images))


COLUMNS = (
    f"training {SPEEDUP}",
    f"inference {SPEEDUP}",
    f"inference with folded norms {SPEEDUP}",
    "peak memory of the peer, MiB",
    "ours, MiB",
    "ours with checkpointing, MiB",
    "checkpointing, relative speed",
)


def measure(bf16: bool, only: Sequence[str] | None, rounds: int) -> Table:
    """Measure each backbone against its peer.

    Speedups are over the peer, and the relative speed of checkpointing is over ours without it.

    Args:
        bf16: whether to use bfloat16 autocast.
        only: names of the backbones; None for all.
        rounds: number of measured rounds.

    Raises:
        ValueError: a name in `only` is not among the cases.
    """
    names = list(dict.fromkeys(case.name for case in CASES))
    if unknown := sorted(set(only or ()) - set(names)):
        raise ValueError(
            f"{', '.join(unknown)} is not among the benchmarked backbones; choose from {', '.join(names)}."
        )
    precision = "bf16" if bf16 else "float32"
    table = Table(f"backbones, {precision}, channels_last", COLUMNS, ("torch", "torchvision", "timm"), rounds)
    for case in CASES:
        if only and case.name not in only:
            continue
        entries = contenders(case, bf16)
        works = [entry.build() for entry in entries]
        # folding concerns inference only, checkpointing training only
        steps = [training_step(*pair) for pair in zip(entries[:3], works, strict=False)]
        peer, ours, checkpointed = time_interleaved(steps, rounds)
        runs = [inference(entries[i], works[i]) for i in (0, 1, 3)]
        peer_run, our_run, folded_run = time_interleaved(runs, rounds)
        del works, steps, runs  # free device memory before the processes that measure it
        table.rows[f"{case.name}, {' x '.join(map(str, case.shape))}, against {case.peer}"] = (
            speedups(ours, peer),
            speedups(our_run, peer_run),
            speedups(folded_run, peer_run),
            *(peak_memory(entry) for entry in entries[:3]),
            speedups(checkpointed, ours),
        )
    return table

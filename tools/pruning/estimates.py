"""Cost of networks, and the statistics of their batch norms."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def macs_of(run: Callable[[], Any]) -> float:
    """Return the multiply-accumulates of all convolutions and matrix products of a call."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() / 2  # two FLOPs for each


def estimate_norms(network: nn.Module, run: Callable[[Any], Any], batches: Iterable[Any]) -> None:
    """Replace the statistics of all batch norms by their means over some batches; all else is in evaluation.

    Args:
        network: in evaluation mode, also afterwards.
        run: runs it on a batch.
        batches: of the training split.
    """
    norms = [module for module in network.modules() if isinstance(module, _NORMS) and module.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # of all batches alike
        norm.train()
    with torch.no_grad():
        for batch in batches:
            run(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


def latencies(runs: Sequence[Callable[[], Any]], device: torch.device, rounds: int = 15) -> list[float]:
    """Return the median time of each call in milliseconds, measured in turns, so that drift affects all alike."""
    times: list[list[float]] = [[] for _ in runs]
    with torch.inference_mode():
        for number in range(rounds + 3):
            for place, run in enumerate(runs):
                began = time.perf_counter()
                run()
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
                if number >= 3:
                    times[place].append(1000 * (time.perf_counter() - began))
    return [statistics.median(one) for one in times]

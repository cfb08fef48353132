"""Activation checkpointing of blocks with batch norms."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def checkpoint_block(block: nn.Module, x: Tensor) -> Tensor:
    """Run a block, store its input only, and recompute its activations in the backward pass."""

    def contexts() -> tuple[AbstractContextManager, AbstractContextManager]:
        return nullcontext(), frozen_running_stats(block)

    return checkpoint(block, x, use_reentrant=False, context_fn=contexts)


@contextmanager
def frozen_running_stats(block: nn.Module) -> Iterator[None]:
    """Normalize by the batch without updating running statistics, which the first pass has done already."""
    norms = [module for module in block.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, counted) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, counted

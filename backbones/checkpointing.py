"""Activation checkpointing of blocks with batch norms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def checkpointed_stages(wanted: bool | Sequence[str], names: Sequence[str], stages: Sequence[str]) -> list[str]:
    """Return those of the stages that are checkpointed.

    Args:
        wanted: all or none, or some of `names`.
        names: of the map at the end of each stage.
        stages: to choose from.

    Raises:
        ValueError: a wanted name is not one of `names`.
    """
    if isinstance(wanted, bool):
        return list(stages) if wanted else []
    if isinstance(wanted, str) or not set(wanted) <= set(names):
        raise ValueError(f"checkpointing is {wanted!r}; give true, false, or a list of these: {', '.join(names)}.")
    return [stage for name, stage in zip(names, stages, strict=True) if name in wanted]


def checkpoint_block(block: nn.Module, x: Tensor) -> Tensor:
    """Run a block, store its input only, and recompute its activations in the backward pass."""
    if not x.requires_grad and not any(parameter.requires_grad for parameter in block.parameters()):
        return block(x)  # frozen: there is no backward pass, for which the input would be stored

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

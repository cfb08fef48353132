"""Regional compilation: `torch.compile` for parts of a network."""

from __future__ import annotations

from typing import Any

from torch import nn


def compile_parts(network: nn.Module, **options: Any) -> list[str]:
    """Compile parts of a network in place; weights, their names and what is computed stay the same.

    A part is recompiled for shapes that its guards do not cover, and CUDA graphs are recorded for each shape, so that
    batches should have few different ones.

    Args:
        network: whose attribute `compiled` names the parts; without it they are all its children.
        options: of `torch.compile`, such as `mode="reduce-overhead"` for CUDA graphs.

    Returns:
        The names of the parts.
    """
    names = getattr(network, "compiled", None) or [name for name, _ in network.named_children()]
    for name in names:
        network.get_submodule(name).compile(**options)
    return list(names)

"""`torch.compile` for the parts of a network that are worth it."""

from __future__ import annotations

from typing import Any

from torch import nn


def compile_parts(network: nn.Module, **options: Any) -> list[str]:
    """Compile parts of a network in place; weights, their names and what is computed stay the same.

    Each part is compiled for every new shape of its inputs when it meets it, so that batches should have few different
    shapes.

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

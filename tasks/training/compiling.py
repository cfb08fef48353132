"""Regional compilation of a network with `torch.compile`."""

from __future__ import annotations

from typing import Any

from torch import nn


def compile_parts(network: nn.Module, **options: Any) -> list[str]:
    """Compile submodules of a network in place, keeping weights, state dict keys and results.

    New input shapes trigger recompilation, and CUDA graphs are recorded per shape: batches should have few shapes.

    Args:
        network: network whose attribute `compiled` names the submodules to compile; by default all children.
        options: options of `torch.compile`, such as `mode="reduce-overhead"` for CUDA graphs.

    Returns:
        Names of the compiled submodules.
    """
    names = getattr(network, "compiled", None) or [name for name, _ in network.named_children()]
    for name in names:
        # `Module.compile`, not `torch.compile(module)`, whose wrapper prefixes all keys of the state dict
        network.get_submodule(name).compile(**options)
    return list(names)

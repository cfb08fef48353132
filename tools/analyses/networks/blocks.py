"""Blocks of a network in the order of depth, and the last layer of their residual branches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from vertebra.backbones import Backbone
from vertebra.backbones.blocks import BasicBlock, Bottleneck
from vertebra.backbones.momentum import MomentumStage
from vertebra.backbones.ode import ODEStage
from vertebra.backbones.resnet import ResNet
from vertebra.tools.analyses.networks.encoder_halves import EncoderHalf

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_BRANCH_ENDS = ("se", "bn3", "bn2")  # of timm's residual blocks, the first that there is


class Block(NamedTuple):
    """A block of a network.

    Attributes:
        name: of the module in its backbone, such as `layer1.0`.
        stage: name of its container, such as `layer1`.
        module: the block.
        branch_end: last layer of its residual branch, whose output is added to the shortcut; None without a branch.
        is_increment: whether its stage takes from it only the change f(x) = block(x) - x (momentum, ODE).
    """

    name: str
    stage: str
    module: nn.Module
    branch_end: nn.Module | None
    is_increment: bool = False


def body_of(network: nn.Module) -> nn.Module:
    """Return the outermost backbone in a network, or the network itself where there is none."""
    return next((module for module in network.modules() if isinstance(module, Backbone)), network)


def blocks_of(network: nn.Module) -> list[Block]:
    """Return the blocks of a network's backbone, from its input to its output.

    Those of a `ResNet` are the blocks of its stages. In other networks a block is an entry of a `nn.Sequential`,
    `nn.ModuleList` or `nn.ModuleDict` that has at least two layers with weights and no such entry inside; without any,
    each layer with weights is one.

    Raises:
        ValueError: the network has no layer with weights.
    """
    body = body_of(network)
    if isinstance(body, ResNet):
        found = [(f"{stage}.{name}", module) for stage in body.stages for name, module in _children(body, stage)]
    else:
        found = list(_units(body, "")) or [(name, module) for name, module in body.named_modules() if _is_layer(module)]
    if not found:
        raise ValueError(f"{type(body).__name__} has no layer with weights; there are no blocks to examine.")
    increments = {
        block
        for stage in body.modules()
        if isinstance(stage, MomentumStage | ODEStage)
        for block in list(stage.children())[1:]  # the first one is an ordinary block
    }
    return [
        Block(name, _stage(name, module), module, branch_end(module), module in increments) for name, module in found
    ]


def branch_end(block: nn.Module) -> nn.Module | None:
    """Return the last layer of a block's residual branch, stochastic depth aside; None where no branch is known."""
    if isinstance(block, BasicBlock | Bottleneck) and block.se is not None:
        return block.se
    if isinstance(last := getattr(block, "last_layer", None), nn.Module):
        return last
    if hasattr(block, "downsample"):
        ends = (getattr(block, name, None) for name in _BRANCH_ENDS)
        return next((end for end in ends if isinstance(end, nn.Module)), None)
    return None


@contextmanager
def hooked(handles: Iterable[RemovableHandle]) -> Iterator[None]:
    """Remove hooks at the end of the `with` block."""
    handles = list(handles)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def on_output(module: nn.Module, take: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
    """Call a function with a module's output, whenever that is a tensor; what it returns replaces the output."""

    def hook(_: nn.Module, inputs: Any, output: Any) -> Tensor | None:
        return take(output) if isinstance(output, Tensor) else None

    return module.register_forward_hook(hook)


def on_input(module: nn.Module, take: Callable[[Tensor], None]) -> RemovableHandle:
    """Call a function with a module's first input."""

    def hook(_: nn.Module, inputs: Any) -> None:
        if inputs and isinstance(inputs[0], Tensor):
            take(inputs[0])

    return module.register_forward_pre_hook(hook)


def channels_first(x: Tensor) -> Tensor:
    """Return tokens (N, L, C) as (N, C, L); maps (N, C, ...) and vectors (N, C) stay."""
    return x.mT if x.dim() == 3 else x


def without_branches(blocks: Sequence[Block]) -> Iterator[RemovableHandle]:
    """Yield hooks that set the residual branches of blocks to zero, so that each is its shortcut."""
    for block in blocks:
        if block.branch_end is not None:
            yield on_output(block.branch_end, torch.zeros_like)


def _children(body: nn.Module, stage: str) -> list[tuple[str, nn.Module]]:
    return list(body.get_submodule(stage).named_children())


def _stage(name: str, block: nn.Module) -> str:
    """Return the name of a block's container; for half a Transformer block of that of the whole one."""
    container = name.rpartition(".")[0]
    return container.rpartition(".")[0] if isinstance(block, EncoderHalf) else container


def _units(parent: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    for name, child in parent.named_children():
        path = f"{prefix}{name}"
        inside = list(_units(child, f"{path}."))
        if inside:
            yield from inside
        elif isinstance(parent, _CONTAINERS) and not isinstance(child, _CONTAINERS) and _num_layers(child) > 1:
            yield path, child


def _num_layers(module: nn.Module) -> int:
    return sum(_is_layer(one) for one in module.modules())


def _is_layer(module: nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    return isinstance(weight, Tensor) and weight.dim() > 1

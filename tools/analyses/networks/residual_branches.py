"""Residual branches of a network as functions: F of each block, whose output is added to the residual stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from vertebra.backbones.blocks_plain import PlainBlock
from vertebra.backbones.received import received
from vertebra.tools.analyses.networks.blocks import Block, body_of, hooked, on_input, on_output
from vertebra.tools.analyses.networks.subject import Subject
from vertebra.tools.analyses.networks.unrolled import in_turn, unrolled_blocks


@dataclass(frozen=True)
class Branch:
    """Residual branch of a block; a call computes F(x), without the shortcut and the activation after the sum.

    The branch of a plain block is its layers without the last activation, which is what a residual block of the same
    layers adds to its input. Blocks are in evaluation mode, so that the samples of a batch are independent.

    Attributes:
        name: of the block in its backbone, such as `layer1.0`; of a step in an ODE stage see `unrolled_blocks`.
        stage: of the block, such as `layer1`.
        block: the block.
        end: last layer of the branch.
    """

    name: str
    stage: str
    block: nn.Module
    end: nn.Module

    def __call__(self, x: Tensor) -> Tensor:
        """Return F(x)."""
        return self.with_output(x)[0]

    def with_output(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return F(x), and the output of the whole block."""
        found: list[Tensor] = []
        # cloned, since blocks add the shortcut in place; no return value, which would replace the output
        with hooked([on_output(self.end, lambda y: found.append(y.clone()))]):
            output = self.block(x)
        return found[0], output

    @property
    def is_residual(self) -> bool:
        """Whether the block has a shortcut."""
        return not isinstance(self.block, PlainBlock)


def residual_branches(network: nn.Module) -> list[Branch]:
    """Return the residual branches of a network, and those of plain blocks, from its input to its output.

    Each step of an ODE stage has one, f of the equation; they share their layers.

    Raises:
        ValueError: there are none, or an ODE stage has another solver than Euler's method with one step.
    """
    ends = [(block, _branch_end(block)) for block in unrolled_blocks(network)]
    branches = [Branch(block.name, block.stage, block.module, end) for block, end in ends if end is not None]
    if not branches:
        raise ValueError(
            f"{type(body_of(network)).__name__} has no block whose residual branch is known; expected a ResNet of "
            "basic or bottleneck blocks, its plain baseline, an ODE-Net, or a Vision Transformer. Choose one: "
            "vertebra backbones 'resnet*'."
        )
    return branches


def _branch_end(block: Block) -> nn.Module | None:
    return block.module.bn2 if isinstance(block.module, PlainBlock) else block.branch_end


def backbone_inputs(subject: Subject) -> list[Tensor]:
    """Return what the backbone receives for each batch of a subject: normalized images, clips or volumes.

    Raises:
        ValueError: the backbone runs more than once in a batch.
    """
    found: list[Tensor] = []
    with torch.no_grad(), received(body_of(subject.network), lambda x: found.append(x.clone())):
        for index, batch in enumerate(subject.batches):
            subject.module.training_step(batch, index)
    if len(found) != len(subject.batches):
        raise ValueError(
            f"the backbone ran {len(found)} times in {len(subject.batches)} batches; expected once in each. Choose a "
            "network with one backbone on whole images."
        )
    return found


@torch.no_grad()
def branch_inputs(network: nn.Module, branches: Sequence[Branch], images: Tensor) -> list[Tensor]:
    """Return the input of each branch for images (N, C, ...) as the network's backbone receives them.

    Raises:
        ValueError: a block runs more often than it has branches, or less.
    """
    inputs: list[list[Tensor]] = [[] for _ in branches]

    def keep(found: list[Tensor], x: Tensor) -> None:
        found.append(x.clone())

    runs = in_turn((branch.block, partial(keep, found)) for branch, found in zip(branches, inputs, strict=True))
    with hooked(on_input(*run) for run in runs):
        body_of(network)(images)
    for branch, found in zip(branches, inputs, strict=True):
        if len(found) != 1:
            raise ValueError(
                f"{branch.name} runs {len(found)} times in a forward pass; expected once. Choose another network."
            )
    return [found[0] for found in inputs]

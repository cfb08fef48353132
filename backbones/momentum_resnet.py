"""Momentum ResNets: the memory of their training does not grow with depth. Names and weights are those of ResNets.

Momentum Residual Neural Networks, Sander et al. 2021, https://arxiv.org/abs/2102.07870
"""

from __future__ import annotations

from functools import partial

from vertebra.backbones.backbone import BackboneOptions
from vertebra.backbones.blocks import BasicBlock, BlockSpec, Bottleneck
from vertebra.backbones.momentum import GAMMA, MomentumStage
from vertebra.backbones.registry import register
from vertebra.backbones.resnet import ResNet
from vertebra.backbones.shortcuts import centered_zero_padded
from vertebra.backbones.stems import small_stem

CIFAR_DEPTHS = (20, 32, 44, 56, 110)


def momentum_resnet(
    depth: int, options: BackboneOptions | None = None, *, gamma: float = GAMMA, invertible: bool = True
) -> ResNet:
    """Build the ResNet of this depth, for ImageNet or CIFAR, with momentum in its stages.

    Args:
        depth: 18, 34, 50, 101, 152, or for images of 32 pixels 20, 32, 44, 56, 110.
        options: of any backbone; `checkpointing` is refused.
        gamma: see `MomentumStage`.
        invertible: see `MomentumStage`.

    Raises:
        ValueError: another depth, or an option that the network does not have.
    """
    options = options or BackboneOptions()
    if options.checkpointing:
        raise ValueError(
            f"checkpointing is {options.checkpointing!r}, but a momentum ResNet stores no activations of its blocks; "
            "leave it out."
        )
    stage = partial(MomentumStage, gamma=gamma, invertible=invertible)
    if depth in _BLOCKS:
        block, depths = _BLOCKS[depth]
        return ResNet(block, depths, options, stage=stage)
    if depth in CIFAR_DEPTHS:
        return ResNet(
            _padded_block,
            ((depth - 2) // 6,) * 3,
            options,
            stem=small_stem,
            widths=(16, 32, 64),
            strides=(1, 2, 2),
            stage=stage,
        )
    choices = ", ".join(map(str, sorted((*_BLOCKS, *CIFAR_DEPTHS))))
    raise ValueError(f"depth is {depth}; choose {choices}.")


def _padded_block(spec: BlockSpec) -> BasicBlock:
    return BasicBlock(spec, shortcut=centered_zero_padded)


_BLOCKS: dict[int, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, ...]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
}
for number in (*_BLOCKS, *CIFAR_DEPTHS):
    register(partial(momentum_resnet, number), f"momentum_resnet{number}")

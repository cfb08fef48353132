"""ODE-Nets: pre-activation ResNets whose stages are differential equations.

Neural Ordinary Differential Equations, Chen et al. 2018, https://arxiv.org/abs/1806.07366
"""

from __future__ import annotations

from functools import partial

from torch import nn

from vertebra.backbones.backbone import BackboneOptions
from vertebra.backbones.blocks import BlockSpec
from vertebra.backbones.blocks_preact import PreActBasicBlock, PreActBottleneck, norm_and_relu
from vertebra.backbones.ode import EULER, ODEStage, Solver
from vertebra.backbones.registry import register
from vertebra.backbones.resnet import ResNet
from vertebra.backbones.stems import plain_stem, small_stem, without_norm

CIFAR_DEPTHS = (20, 32, 44, 56, 110)


def odenet(depth: int, options: BackboneOptions | None = None, *, solver: Solver = EULER) -> ResNet:
    """Build the pre-activation ResNet of this depth, in whose stages all blocks but the first are one equation.

    The time of a stage is the number of those blocks, so that the default solver, Euler's method, evaluates as many as
    the ResNet has, with the weights of one. f has group norms whatever `norm` is: statistics of batches would mix all
    times.

    Args:
        depth: 18, 34, 50, or for images of 32 pixels 20, 32, 44, 56, 110.
        options: of any backbone; `drop_path_rate` and `checkpointing` are refused.
        solver: of the equations.

    Raises:
        ValueError: another depth, or an option that the network does not have.
    """
    options = options or BackboneOptions()
    for option in ("drop_path_rate", "checkpointing"):
        if value := getattr(options, option):
            raise ValueError(
                f"{option} is {value!r}, but the stages of an ODE-Net are no rows of blocks; leave it out"
                f"{', and take a solver with adjoint=True to save memory.' if option == 'checkpointing' else '.'}"
            )
    stage = partial(ODEStage, solver=solver)
    if depth in _BLOCKS:
        block, depths = _BLOCKS[depth]
        stem = partial(without_norm, plain_stem)
        return ResNet(partial(_normalized, block), depths, options, stem=stem, closing=norm_and_relu, stage=stage)
    if depth in CIFAR_DEPTHS:
        return ResNet(
            partial(_normalized, PreActBasicBlock),
            ((depth - 2) // 6,) * 3,
            options,
            stem=partial(without_norm, small_stem),
            widths=(16, 32, 64),
            strides=(1, 2, 2),
            closing=norm_and_relu,
            stage=stage,
        )
    raise ValueError(f"depth is {depth}; choose {', '.join(map(str, sorted((*_BLOCKS, *CIFAR_DEPTHS))))}.")


def _normalized(block: type[PreActBasicBlock] | type[PreActBottleneck], spec: BlockSpec) -> nn.Module:
    return block(spec._replace(norm="group") if spec.number else spec)


_BLOCKS: dict[int, tuple[type[PreActBasicBlock] | type[PreActBottleneck], tuple[int, ...]]] = {
    18: (PreActBasicBlock, (2, 2, 2, 2)),
    34: (PreActBasicBlock, (3, 4, 6, 3)),
    50: (PreActBottleneck, (3, 4, 6, 3)),
}
for number in (*_BLOCKS, *CIFAR_DEPTHS):
    register(partial(odenet, number), f"odenet{number}")

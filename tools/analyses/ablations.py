"""Variants of a residual network for CIFAR, each with one part changed, and what was published of that change."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from vertebra.backbones import Backbone
from vertebra.backbones.backbone import BackboneOptions
from vertebra.backbones.blocks import BasicBlock, Bottleneck
from vertebra.backbones.blocks_plain import PlainBlock
from vertebra.backbones.blocks_preact import PreActBasicBlock
from vertebra.backbones.resnet_cifar import DEPTHS, small_preact, small_resnet
from vertebra.backbones.shortcuts import centered_zero_padded, full_projection

_NAMES = [f"resnet{depth}" for depth in DEPTHS if depth < 1202]
_SQUEEZE = 1 / 4  # 16 channels of the first stage leave no room for the paper's 1/16
_DROP_PATH = 0.2  # at the last block; the paper's 0.5 is for 110 layers


class Variant(NamedTuple):
    """A network with one part changed.

    Attributes:
        factor: what is changed, such as `shortcut`.
        name: to what.
        build: builds the network with new random weights.
        published: sign of the published change of the validation error: -1 better, 1 worse, 0 where no direction was
            published for networks of this size.
        source: of the publication.
    """

    factor: str
    name: str
    build: Callable[[], Backbone]
    published: int
    source: str


def variants_of(name: str) -> list[Variant]:
    """Return the network itself and its variants.

    Args:
        name: of a residual network for CIFAR with shortcut A, such as resnet20.

    Raises:
        ValueError: another network.
    """
    if name not in _NAMES:
        raise ValueError(f"{name!r} cannot be ablated; choose a residual network for CIFAR: {', '.join(_NAMES)}.")
    blocks = (int(name.removeprefix("resnet")) - 2) // 6
    basic = partial(BasicBlock, shortcut=centered_zero_padded)
    options = BackboneOptions()
    dropped = BackboneOptions(drop_path_rate=_DROP_PATH)
    residual, preact = partial(small_resnet, options), partial(small_preact, options)
    he, he2 = "He et al. 2015, arXiv:1512.03385", "He et al. 2016, arXiv:1603.05027"
    shallow, deep = max(1, blocks // 2), 2 * blocks
    flat, projected = BasicBlock, partial(BasicBlock, shortcut=full_projection)
    bottleneck = partial(Bottleneck, shortcut=centered_zero_padded)
    squeezed = partial(basic, squeeze=_SQUEEZE)
    # two thirds of the blocks have as many layers
    few = max(1, round(2 * blocks / 3))
    return [
        Variant("baseline", f"{name}, option A", partial(residual, basic, blocks), 0, ""),
        Variant("depth", f"{6 * shallow + 2} layers", partial(residual, basic, shallow), 1, he),
        Variant("depth", f"{6 * deep + 2} layers", partial(residual, basic, deep), -1, he),
        Variant("width", "twice", partial(residual, basic, blocks, 2), -1, "Zagoruyko 2016, arXiv:1605.07146"),
        Variant("shortcut", "B, projection where shapes differ", partial(residual, flat, blocks), -1, he),
        Variant("shortcut", "C, projections everywhere", partial(residual, projected, blocks), -1, he),
        Variant("shortcut", "none (plain)", partial(residual, PlainBlock, blocks), 1, he),
        Variant("block", f"bottleneck, {9 * few + 2} layers", partial(residual, bottleneck, few), 0, ""),
        Variant("pre-activation", "norm and ReLU first", partial(preact, PreActBasicBlock, blocks), -1, he2),
        Variant(
            "stochastic depth",
            f"rate {_DROP_PATH} at the last block",
            partial(small_resnet, dropped, basic, blocks),
            -1,
            "Huang et al. 2016, arXiv:1603.09382",
        ),
        Variant(
            "SE", "squeeze-and-excitation", partial(residual, squeezed, blocks), -1, "Hu et al. 2018, arXiv:1709.01507"
        ),
    ]

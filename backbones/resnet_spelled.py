"""ResNets whose name spells their architecture: `resnet:small-basic-d3.3.3-w16.32.64`.

Parts of a name, in this order: stem, block, number of blocks in each stage, width of each stage, kernel size of the
blocks where it is not 3, and `se` for squeeze-and-excitation. Shortcuts project where shapes differ (option B).
`resnet:plain-bottleneck-d3.4.6.3-w64.128.256.512` is ResNet-50.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from torch import nn

from vertebra.backbones.backbone import BackboneOptions
from vertebra.backbones.blocks import BasicBlock, Bottleneck
from vertebra.backbones.convolutions import sized_conv
from vertebra.backbones.layers import Norm
from vertebra.backbones.registry import register_prefix
from vertebra.backbones.resnet import ResNet
from vertebra.backbones.resnet_attention import SQUEEZE
from vertebra.backbones.stems import Stem, deep_stem, plain_stem, small_stem

PREFIX = "resnet"
KERNELS = (3, 5, 7)
_BLOCKS: dict[str, Callable[..., nn.Module]] = {"basic": BasicBlock, "bottleneck": Bottleneck}
_STEMS = ("small", "plain", "deep")
_NUMBERS = r"\d{1,4}(?:\.\d{1,4}){0,3}"
_NAME = re.compile(rf"(\w+)-(\w+)-d({_NUMBERS})-w({_NUMBERS})(?:-k(\d))?(-se)?")


@dataclass(frozen=True)
class ResNetDesign:
    """Architecture of a ResNet for images, as data.

    Attributes:
        stem: `small` (3x3 convolution, as for CIFAR), `plain` (7x7 and pooling) or `deep` (three 3x3 and pooling).
        block: `basic` or `bottleneck`.
        depths: number of blocks in each of one to four stages; stages after the first halve height and width.
        widths: of the stages; the stem has as many channels as the first.
        kernel: size of the blocks' 3x3 convolutions: 3, 5 or 7.
        squeeze: whether blocks end in squeeze-and-excitation.

    Raises:
        ValueError: there is no such network.
    """

    stem: str
    block: str
    depths: tuple[int, ...]
    widths: tuple[int, ...]
    kernel: int = 3
    squeeze: bool = False

    form: ClassVar[str] = "STEM-BLOCK-dDEPTHS-wWIDTHS[-kKERNEL][-se], such as small-basic-d3.3.3-w16.32.64-k5-se"

    def __post_init__(self) -> None:
        for what, value, choices in (
            ("stem", self.stem, _STEMS),
            ("block", self.block, tuple(_BLOCKS)),
            ("kernel", self.kernel, KERNELS),
        ):
            if value not in choices:
                raise ValueError(f"{what} is {value!r}; choose from {', '.join(map(str, choices))}.")
        if len(self.depths) != len(self.widths) or not 1 <= len(self.depths) <= 4:
            raise ValueError(
                f"there are {len(self.depths)} depths and {len(self.widths)} widths; expected one of each for every "
                "stage, of one to four stages."
            )
        if min(*self.depths, *self.widths) < 1:
            raise ValueError(f"depths are {self.depths} and widths {self.widths}; every number must be 1 or more.")

    @classmethod
    def parse(cls, text: str) -> ResNetDesign:
        """Return the architecture that a name spells, without its prefix.

        Raises:
            ValueError: the name has another form, or spells no network.
        """
        match = _NAME.fullmatch(text)
        if match is None:
            raise ValueError(f"backbone '{PREFIX}:{text}' does not spell a network; expected {PREFIX}:{cls.form}.")
        stem, block, depths, widths, kernel, squeeze = match.groups()
        try:
            return cls(stem, block, _numbers(depths), _numbers(widths), int(kernel or 3), bool(squeeze))
        except ValueError as error:
            raise ValueError(f"backbone '{PREFIX}:{text}': {error}") from None

    @property
    def name(self) -> str:
        """Name of the backbone, for `create_backbone` and `--backbone`."""
        kernel, squeeze = f"-k{self.kernel}" if self.kernel != 3 else "", "-se" if self.squeeze else ""
        depths, widths = (".".join(map(str, numbers)) for numbers in (self.depths, self.widths))
        return f"{PREFIX}:{self.stem}-{self.block}-d{depths}-w{widths}{kernel}{squeeze}"

    def build(self, options: BackboneOptions | None = None) -> ResNet:
        """Build the network, with new random weights."""
        return ResNet(
            partial(
                _BLOCKS[self.block],
                squeeze=SQUEEZE if self.squeeze else None,
                convolution=partial(sized_conv, size=self.kernel),
            ),
            self.depths,
            options,
            stem=self._stem(),
            widths=self.widths,
            strides=(1, *(2,) * (len(self.depths) - 1)),
        )

    def _stem(self) -> Callable[[int, int, Norm], Stem]:
        channels = self.widths[0]
        if self.stem == "deep":  # half of the channels in the first two convolutions, as in the paper
            half = max(1, channels // 2)
            return partial(deep_stem, widths=(half, half, channels))
        return partial(small_stem if self.stem == "small" else plain_stem, channels=channels)


@register_prefix(PREFIX)
def spelled_resnet(name: str, options: BackboneOptions) -> ResNet:
    """ResNet by its spelled architecture."""
    return ResNetDesign.parse(name).build(options)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))

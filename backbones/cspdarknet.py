"""CSPDarknet: the backbone of YOLOX, in its five sizes.

YOLOX: Exceeding YOLO Series in 2021, Ge et al. 2021, https://arxiv.org/abs/2107.08430; CSP stages as in YOLOv5.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from vertebra.backbones.backbone import Backbone, BackboneOptions, Level
from vertebra.backbones.cpu_convolutions import Conv2d
from vertebra.backbones.csp import CSPLayer, SpatialPyramidPooling, conv_norm
from vertebra.backbones.registry import register

# depth and width over those of the large network
SIZES = {"tiny": (0.33, 0.375), "s": (0.33, 0.5), "m": (0.67, 0.75), "l": (1.0, 1.0), "x": (1.33, 1.25)}
BLOCKS = (3, 9, 9, 3)  # of the large network's stages
FOCUS = "stem.conv.conv.weight"


class CSPDarknet(Backbone):
    """Four stages of a strided convolution and a `CSPLayer`, the last with spatial pyramid pooling.

    The authors' stem, `Focus`, brings every second pixel into channels of their own before a 3x3 convolution. That is a
    6x6 convolution of stride 2, which this network has; weights are converted. Names of the other layers are the
    authors'. Their weights are for pixels of 0 to 255 in the order blue, green, red, which is turned around on loading.

    Args:
        options: of any backbone; unsupported ones are refused.
        depth: blocks over those of the large network.
        width: channels over those of the large network.

    Shape:
        (N, in_channels, H, W) -> dict of `level.name` to (N, level.channels, H / reduction, W / reduction)

    Raises:
        ValueError: an option that the network does not have.
    """

    def __init__(self, options: BackboneOptions, depth: float, width: float) -> None:
        super().__init__()
        options.require_only("CSPDarknet", "in_channels", "norm", "out_levels", "frozen_stages")
        norm, channels = options.norm, int(64 * width)
        stem = conv_norm(options.in_channels, channels, 1, norm)
        # padded in `forward`, where odd sizes need one more
        stem.conv = Conv2d(options.in_channels, channels, kernel_size=6, stride=2, bias=False)
        self.stem = stem
        levels = []
        self.stages = [f"dark{i}" for i in range(2, 6)]
        for index, (name, blocks) in enumerate(zip(self.stages, BLOCKS, strict=True)):
            last = index == len(BLOCKS) - 1
            num_blocks = max(round(3 * depth), 1) * (blocks // 3)
            pooling = [SpatialPyramidPooling(2 * channels, norm)] if last else []
            layer = CSPLayer(2 * channels, 2 * channels, num_blocks, norm, shortcut=not last)
            setattr(self, name, nn.Sequential(conv_norm(channels, 2 * channels, 3, norm, stride=2), *pooling, layer))
            channels *= 2
            levels.append(Level(f"C{index + 2}", channels, 2 ** (index + 2)))
        self.choose_levels(levels, options.out_levels)
        if options.frozen_stages:
            self.freeze("stem", *self.stages[: options.frozen_stages - 1])

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        height, width = images.shape[2:]
        x = self.stem(F.pad(images, (2, 2 + width % 2, 2, 2 + height % 2)))
        features = {}
        for index, stage in enumerate(self.stages):
            x = self.get_submodule(stage)(x)
            features[f"C{index + 2}"] = x
        return {level.name: features[level.name] for level in self.levels}

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return weights of a YOLOX, or of its backbone alone, under this network's names and in its shapes."""
        if any(key.startswith("backbone.backbone.") for key in state):  # the rest is YOLOX's neck and head
            prefix = "backbone.backbone."
            state = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        if FOCUS not in state:
            return dict(state)
        renamed = {
            key.replace("stem.conv.conv.", "stem.conv.").replace("stem.conv.bn.", "stem.bn."): value
            for key, value in state.items()
        }
        renamed["stem.conv.weight"] = unfocused(state[FOCUS])
        return renamed


def unfocused(weight: Tensor) -> Tensor:
    """Return the 6x6 convolution (O, C, 6, 6) that equals `Focus` with a 3x3 one (O, 4 * C, 3, 3), for RGB images.

    The input channels of `Focus` are the pixels of even columns, first those of even rows, then of odd ones, and the
    same of odd columns.
    """
    pixels = weight.unflatten(1, (2, 2, -1))  # (O, column, row, C, 3, 3)
    kernel = pixels.permute(0, 3, 4, 2, 5, 1).flatten(4, 5).flatten(2, 3)
    return kernel.flip(1) if kernel.shape[1] == 3 else kernel


for size, (depth, width) in SIZES.items():
    register(partial(CSPDarknet, depth=depth, width=width), f"cspdarknet_{size}")

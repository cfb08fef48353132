"""ResNet in two or three dimensions: a stem and four stages of blocks.

Deep Residual Learning for Image Recognition, He et al. 2015, https://arxiv.org/abs/1512.03385
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from torch import Tensor, nn

from backbones.backbone import Backbone, BackboneOptions, Level
from backbones.blocks import BlockPlace
from backbones.layers import Norm, norm_layer
from backbones.stems import Stem, plain_stem

STAGES = ("layer1", "layer2", "layer3", "layer4")


class ResNet(Backbone):
    """A residual network whose four stages give C2, C3, C4 and C5.

    Submodules carry torchvision's names, so published weights load without a map. The classifier is not part of it.
    BasicBlock dilates in both convolutions, which torchvision's ResNet-18 and -34 refuse to do.

    Args:
        block: builds a block for its place; it tells its `out_channels`.
        depths: number of blocks in each of the four stages.
        options: what holds for any backbone.
        dim: 2 for images, 3 for clips and volumes.
        stem: builds what stands before the first stage.
        widths: of the four stages.

    Shape:
        - images: (N, in_channels, H, W), or (N, in_channels, D, H, W) with `dim=3`
        - output: dict of `level.name` to (N, level.channels, ceil(H / reduction), ceil(W / reduction))
    """

    def __init__(
        self,
        block: Callable[[BlockPlace], nn.Module],
        depths: Sequence[int],
        options: BackboneOptions | None = None,
        *,
        dim: int = 2,
        stem: Callable[[int, int, Norm], Stem] = plain_stem,
        widths: Sequence[int] = (64, 128, 256, 512),
    ) -> None:
        super().__init__()
        options = options or BackboneOptions()
        self.conv1, channels, maxpool = stem(dim, options.in_channels, options.norm)
        self.bn1 = norm_layer(dim, channels, options.norm)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = maxpool

        reduction, dilation, number = 4, 1, 0
        levels = []
        for index, (stage, width, depth) in enumerate(zip(STAGES, widths, depths, strict=True)):
            stride, first_dilation = (1 if index == 0 else 2), dilation
            if reduction * stride > options.output_stride:  # see as far as a strided stage would, at full size
                stride, dilation = 1, dilation * stride
            blocks = []
            for i in range(depth):
                # the first block still stands on the grid of the stage before: its first kernel keeps that dilation
                place = BlockPlace(
                    dim=dim,
                    in_channels=channels,
                    width=width,
                    stride=stride if i == 0 else 1,
                    dilation=first_dilation if i == 0 else dilation,
                    last_dilation=dilation,
                    norm=options.norm,
                    drop_rate=options.drop_path_rate * number / max(1, sum(depths) - 1),
                )
                blocks.append(block(place))
                channels = cast(int, blocks[-1].out_channels)
                number += 1
            reduction *= stride
            setattr(self, stage, nn.Sequential(*blocks))
            levels.append(Level(f"C{index + 2}", channels, reduction if dim == 2 else (reduction,) * 3))

        initialise(self, options.zero_init)
        self.choose_levels(levels, options.out_levels)
        self.freeze(*("conv1", "bn1", "maxpool", *STAGES)[: options.frozen_stages + 2 * (options.frozen_stages > 0)])

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        wanted = {level.name for level in self.levels}
        features = {}
        for index, stage in enumerate(STAGES):
            x = self.get_submodule(stage)(x)
            if (name := f"C{index + 2}") in wanted:
                features[name] = x
            if len(features) == len(wanted):  # nobody asked for what is coarser
                break
        return features


def initialise(network: nn.Module, zero_init: bool) -> None:
    """Draw convolutions as in "Delving Deep into Rectifiers" (He et al. 2015), from the fan-out."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    for module in network.modules():
        if zero_init and isinstance(last_norm := getattr(module, "last_norm", None), nn.Module):
            nn.init.zeros_(last_norm.weight)  # type: ignore[arg-type]

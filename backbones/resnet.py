"""ResNet in two or three dimensions: a stem and four stages of blocks.

Deep Residual Learning for Image Recognition, He et al. 2015, https://arxiv.org/abs/1512.03385
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from backbones.backbone import Backbone, BackboneOptions, Level
from backbones.blocks import BasicBlock, Bottleneck
from backbones.layers import conv, max_pool, norm_layer

Block = type[BasicBlock] | type[Bottleneck]

STAGES = ("layer1", "layer2", "layer3", "layer4")


class ResNet(Backbone):
    """A residual network whose four stages give C2, C3, C4 and C5.

    Submodules carry torchvision's names, so published weights load without a map. The classifier is not part of it.
    BasicBlock dilates in both convolutions, which torchvision's ResNet-18 and -34 refuse to do.

    Args:
        block: class of the residual block.
        depths: number of blocks in each of the four stages.
        options: what holds for any backbone.
        dim: 2 for images, 3 for clips and volumes.
        widths: width of the blocks in each stage; the first is the stem's too.

    Shape:
        - images: (N, in_channels, H, W), or (N, in_channels, D, H, W) with `dim=3`
        - output: dict of `level.name` to (N, level.channels, ceil(H / reduction), ceil(W / reduction))
    """

    def __init__(
        self,
        block: Block,
        depths: Sequence[int],
        options: BackboneOptions | None = None,
        *,
        dim: int = 2,
        widths: Sequence[int] = (64, 128, 256, 512),
    ) -> None:
        super().__init__()
        options = options or BackboneOptions()
        self.conv1 = conv(dim, options.in_channels, widths[0], kernel_size=7, stride=2)
        self.bn1 = norm_layer(dim, widths[0], options.norm)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = max_pool(dim, kernel_size=3, stride=2)

        channels, reduction, dilation = widths[0], 4, 1
        levels = []
        for index, (stage, width, depth) in enumerate(zip(STAGES, widths, depths, strict=True)):
            stride, first_dilation = (1 if index == 0 else 2), dilation
            if reduction * stride > options.output_stride:  # see as far as a strided stage would, at full size
                stride, dilation = 1, dilation * stride
            blocks = []
            for i in range(depth):
                # the first block still stands on the grid of the stage before: its first kernel keeps that dilation
                blocks.append(
                    block(
                        dim,
                        in_channels=channels,
                        width=width,
                        stride=stride if i == 0 else 1,
                        dilation=first_dilation if i == 0 else dilation,
                        last_dilation=dilation,
                        norm=options.norm,
                    )
                )
                channels = width * block.expansion
            reduction *= stride
            setattr(self, stage, nn.Sequential(*blocks))
            levels.append(Level(f"C{index + 2}", channels, reduction if dim == 2 else (reduction,) * 3))

        _initialise(self, options.zero_init)
        self.choose_levels(levels, options.out_levels)
        self.freeze(*("conv1", "bn1", *STAGES)[: options.frozen_stages + (options.frozen_stages > 0)])

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


def _initialise(network: nn.Module, zero_init: bool) -> None:
    """Draw convolutions as in "Delving Deep into Rectifiers" (He et al. 2015), from the fan-out."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if zero_init and isinstance(module, BasicBlock | Bottleneck):
            nn.init.zeros_(module.last_norm.weight)  # type: ignore[arg-type]

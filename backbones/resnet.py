"""ResNet in two or three dimensions: a stem and stages of blocks.

Deep Residual Learning for Image Recognition, He et al. 2015, https://arxiv.org/abs/1512.03385
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from torch import Tensor, nn

from vertebra.backbones.backbone import Backbone, BackboneOptions, Level
from vertebra.backbones.blocks import BlockSpec
from vertebra.backbones.checkpointing import checkpoint_block, checkpointed_stages
from vertebra.backbones.frozen_norms import chain
from vertebra.backbones.layers import Norm, Size, per_axis
from vertebra.backbones.stems import Stem, plain_stem


class ResNet(Backbone):
    """Residual network whose stages output C2, C3, C4 and C5, or as many of them as there are stages.

    Submodules have torchvision's names, so that published weights load without renaming; there is no classifier.
    BasicBlock dilates both of its convolutions, which torchvision's ResNet-18 and -34 refuse to do.

    Args:
        block: builds a block from its `BlockSpec`; the block has an attribute `out_channels`.
        depths: number of blocks in each stage.
        options: of any backbone.
        dim: 2 for images, 3 for clips and volumes.
        stem: builds the layers before the first stage.
        widths: of the stages.
        strides: of the stages.
        closing: builds the layers after the last stage from dim, channels and norm; pre-activation networks have a
            norm and an activation there.
        stage: builds a stage from its blocks, for networks that do more than run one after the other.

    Shape:
        - images: (N, in_channels, H, W), or (N, in_channels, D, H, W) with `dim=3`
        - output: dict of `level.name` to (N, level.channels, ceil(H / reduction), ceil(W / reduction))
    """

    folds = (("conv1", "bn1"),)

    def __init__(
        self,
        block: Callable[[BlockSpec], nn.Module],
        depths: Sequence[int],
        options: BackboneOptions | None = None,
        *,
        dim: int = 2,
        stem: Callable[[int, int, Norm], Stem] = plain_stem,
        widths: Sequence[int] = (64, 128, 256, 512),
        strides: Sequence[Size] = (1, 2, 2, 2),
        closing: Callable[[int, int, Norm], nn.Module] | None = None,
        stage: Callable[..., nn.Sequential] = nn.Sequential,
    ) -> None:
        super().__init__()
        options = options or BackboneOptions()
        self.conv1, self.bn1, self.relu, self.maxpool, channels, reduction = stem(
            dim, options.in_channels, options.norm
        )
        self.stages = [f"layer{index + 1}" for index in range(len(depths))]

        dilation, built = (1,) * dim, 0
        levels = []
        for index, (width, depth, wanted) in enumerate(zip(widths, depths, strides, strict=True)):
            first_dilation, stride = dilation, per_axis(wanted, dim)
            # a stride beyond the output stride becomes a dilation, which keeps the receptive field
            kept = tuple(r * s > options.output_stride for r, s in zip(reduction, stride, strict=True))
            dilation = tuple(d * s if keep else d for d, s, keep in zip(dilation, stride, kept, strict=True))
            stride = tuple(1 if keep else s for s, keep in zip(stride, kept, strict=True))
            blocks = []
            for i in range(depth):
                # the first block's input is on the previous stage's grid, so its first kernel keeps that dilation
                spec = BlockSpec(
                    dim=dim,
                    stage=index,
                    number=i,
                    in_channels=channels,
                    width=width,
                    stride=stride if i == 0 else (1,) * dim,
                    dilation=first_dilation if i == 0 else dilation,
                    last_dilation=dilation,
                    norm=options.norm,
                    drop_rate=options.drop_path_rate * built / max(1, sum(depths) - 1),
                )
                blocks.append(block(spec))
                channels = cast(int, blocks[-1].out_channels)
                built += 1
            reduction = tuple(r * s for r, s in zip(reduction, stride, strict=True))
            setattr(self, self.stages[index], stage(*blocks))
            levels.append(Level(f"C{index + 2}", channels, cast("tuple[int, int, int]", reduction)))
        self.checkpointing = checkpointed_stages(options.checkpointing, [level.name for level in levels], self.stages)
        self.closing = closing(dim, channels, options.norm) if closing else None

        initialize(self, options.zero_init)
        if dim == 2:
            levels = [level._replace(reduction=cast("tuple[int, ...]", level.reduction)[0]) for level in levels]
        self.choose_levels(levels, options.out_levels)
        if options.frozen_stages:
            last = ["closing"] if closing and options.frozen_stages > len(depths) else []
            self.freeze("conv1", "bn1", "maxpool", *self.stages[: options.frozen_stages - 1], *last)

    @property
    def compiled_blocks(self) -> list[str]:
        """Names of the blocks, which `compile_parts` compiles once for all of a kind, beside the stem."""
        stages = {name: cast(nn.Sequential, self.get_submodule(name)) for name in self.stages}
        if self.checkpointing or any(type(stage) is not nn.Sequential for stage in stages.values()):
            return []
        return [f"{name}.{i}" for name, stage in stages.items() for i in range(len(stage))]

    def stem(self, images: Tensor) -> Tensor:
        """Return what the first stage is applied to."""
        return chain(images, self.conv1, self.bn1, self.relu, self.maxpool)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        x = self.stem(images)
        wanted = {level.name for level in self.levels}
        features = {}
        for index, stage in enumerate(self.stages):
            blocks = cast(nn.Sequential, self.get_submodule(stage))
            if stage in self.checkpointing and self.training:
                for block in blocks:
                    x = checkpoint_block(block, x)
            else:
                x = blocks(x)
            if self.closing is not None and stage == self.stages[-1]:
                x = self.closing(x)
            if (name := f"C{index + 2}") in wanted:
                features[name] = x
            if len(features) == len(wanted):  # coarser levels are not in out_levels
                break
        return features


def initialize(network: nn.Module, zero_init: bool) -> None:
    """Initialize convolutions by He's normal distribution, from the fan-out.

    Delving Deep into Rectifiers, He et al. 2015, https://arxiv.org/abs/1502.01852.

    Args:
        network: the network.
        zero_init: start each residual branch at zero, so that every block begins as its shortcut.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    for module in network.modules():
        if zero_init and isinstance(last := getattr(module, "last_layer", None), nn.Module):
            nn.init.zeros_(last.weight)  # type: ignore[arg-type]

"""Feature pyramid network (FPN)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from vertebra.backbones.backbone import Level
from vertebra.backbones.layers import Norm
from vertebra.backbones.pyramid import (
    Extra,
    add_resized,
    dimension,
    extra_levels,
    initialize,
    pyramid_conv,
    pyramid_levels,
)


class FPN(nn.Module):
    """FPN: coarse maps are upsampled and added to the finer ones, top-down.

    Feature Pyramid Networks for Object Detection, Lin et al. 2016, https://arxiv.org/abs/1612.03144; P6 and P7 by
    convolution as in Focal Loss for Dense Object Detection, Lin et al. 2017, https://arxiv.org/abs/1708.02002, from C5.
    Submodules have torchvision's names. 3-D levels give a 3-D pyramid.

    Args:
        levels: a backbone's `levels`.
        channels: channels of every level of the pyramid.
        extra: levels beyond the coarsest: None, `pool` (one, by subsampling), or two by strided convolution: `conv`
            from C5, `conv_p5` from P5.
        norm: after every convolution (see `BackboneOptions`), or None for biases instead.

    Attributes:
        levels: the pyramid's levels, P2..P5 for C2..C5 and the extra ones.

    Shape:
        dict of C2..C5 -> dict of P2..P5 (and P6, P7), each (N, channels, H / reduction, W / reduction)
    """

    def __init__(
        self, levels: Sequence[Level], channels: int = 256, extra: Extra | None = None, norm: Norm | None = None
    ) -> None:
        super().__init__()
        dim = dimension(levels)
        self.inner_blocks = nn.ModuleList(pyramid_conv(dim, level.channels, channels, 1, norm) for level in levels)
        self.layer_blocks = nn.ModuleList(pyramid_conv(dim, channels, channels, 3, norm) for _ in levels)
        self.extra_blocks = extra_levels(extra, levels, channels)
        initialize(self)
        self.inputs = [level.name for level in levels]
        self.levels = pyramid_levels(levels, channels, self.extra_blocks.num_levels if self.extra_blocks else 0)

    def own_levels(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the state of another FPN with the blocks of each level under the number that it has here.

        Blocks count from the finest level, which a RetinaNet lacks, and both end with the coarsest level of the
        backbone. Blocks of levels that are finer than those of this FPN are left out.
        """
        blocks = re.compile(r"(inner_blocks|layer_blocks)\.(\d+)\.")
        numbers = [int(found[2]) for key in state if (found := blocks.match(key))]
        shift = len(self.inner_blocks) - 1 - max(numbers, default=len(self.inner_blocks) - 1)
        renamed = {}
        for key, value in state.items():
            found = blocks.match(key)
            if found and (number := int(found[2]) + shift) < 0:
                continue
            renamed[f"{found[1]}.{number}.{key[found.end() :]}" if found else key] = value
        return renamed

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        maps = [block(features[name]) for name, block in zip(self.inputs, self.inner_blocks, strict=True)]
        for i in range(len(maps) - 2, -1, -1):  # top down
            maps[i] = add_resized(maps[i], maps[i + 1])
        maps = [block(x) for x, block in zip(maps, self.layer_blocks, strict=True)]
        if self.extra_blocks is not None:
            maps += self.extra_blocks(maps[-1], features[self.inputs[-1]])
        return {level.name: x for level, x in zip(self.levels, maps, strict=True)}

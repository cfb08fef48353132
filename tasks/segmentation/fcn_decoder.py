"""Decoder of the fully convolutional networks FCN-32s, FCN-16s and FCN-8s: per-level scores, summed."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from vertebra.backbones import Level
from vertebra.backbones.layers import conv
from vertebra.tasks.segmentation.layers import resized


class FCNScoresDecoder(nn.Module):
    """FCN decoder: a 1x1 classifier per level; coarse scores are upsampled and added to finer ones.

    Fully Convolutional Networks for Semantic Segmentation, Long et al. 2014, https://arxiv.org/abs/1411.4038: one
    level is FCN-32s, two are FCN-16s, three FCN-8s. Upsampling is bilinear, the initialization of the paper's
    transposed convolutions, and is not learned.

    Args:
        levels: levels of the backbone.
        num_levels: number of levels used, counted from the coarsest.
        num_classes: K.

    Shape:
        dict of maps -> (N, K, h, w) logits at the size of the finest used level
    """

    def __init__(self, levels: Sequence[Level], num_levels: int, num_classes: int) -> None:
        super().__init__()
        if not 1 <= num_levels <= len(levels):
            raise ValueError(
                f"num_levels is {num_levels}; expected 1 (FCN-32s) to {len(levels)}, the number of levels of the "
                "backbone. Choose fewer, or a backbone with more levels."
            )
        used = levels[-num_levels:]
        self.names = [level.name for level in used]
        self.channels = num_classes
        self.scores = nn.ModuleList(conv(2, level.channels, num_classes, kernel_size=1, bias=True) for level in used)
        for score in self.scores:  # near-uniform probabilities, so that the initial loss is log K
            nn.init.normal_(score.weight, std=0.01)  # type: ignore[arg-type]
            nn.init.zeros_(score.bias)  # type: ignore[arg-type]

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        maps = [score(features[name]) for name, score in zip(self.names, self.scores, strict=True)]
        x = maps.pop()
        while maps:
            finer = maps.pop()
            x = resized(x, (finer.shape[2], finer.shape[3])) + finer
        return x

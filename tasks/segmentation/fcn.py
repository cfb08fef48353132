"""Scores of several levels, added: the fully convolutional networks FCN-32s, FCN-16s and FCN-8s."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from vertebra.backbones import Level
from vertebra.backbones.layers import conv
from vertebra.tasks.segmentation.layers import resized


class FCNScoresDecoder(nn.Module):
    """A linear layer on each of the last levels; scores of a coarse one are doubled and added to the finer one's.

    Fully Convolutional Networks for Semantic Segmentation, Long et al. 2014, https://arxiv.org/abs/1411.4038: one
    level is FCN-32s, two are FCN-16s, three FCN-8s. Doubling is bilinear, as the paper's begins, and is not learned.

    Args:
        levels: a backbone's.
        num_levels: how many of them, from the coarsest on.
        num_classes: K.

    Shape:
        dict of maps -> (N, K, h, w), logits, in the size of the finest of those levels
    """

    def __init__(self, levels: Sequence[Level], num_levels: int, num_classes: int) -> None:
        super().__init__()
        if not 1 <= num_levels <= len(levels):
            raise ValueError(
                f"the backbone has {len(levels)} levels, and {num_levels} are wanted; take 1 (FCN-32s) "
                "or more, up to as many as it has."
            )
        used = levels[-num_levels:]
        self.names = [level.name for level in used]
        self.channels = num_classes
        self.scores = nn.ModuleList(conv(2, level.channels, num_classes, kernel_size=1, bias=True) for level in used)
        for score in self.scores:
            nn.init.normal_(score.weight, std=0.01)  # type: ignore[arg-type]
            nn.init.zeros_(score.bias)  # type: ignore[arg-type]

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        maps = [score(features[name]) for name, score in zip(self.names, self.scores, strict=True)]
        x = maps.pop()
        while maps:
            finer = maps.pop()
            x = resized(x, (finer.shape[2], finer.shape[3])) + finer
        return x

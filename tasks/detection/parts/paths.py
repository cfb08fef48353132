"""Top-down and bottom-up paths whose maps are concatenated, as in the necks of YOLOX and RT-DETR."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from vertebra.backbones.pyramid import resized


def top_down(maps: Sequence[Tensor], laterals: Iterable[nn.Module], blocks: Iterable[nn.Module]) -> list[Tensor]:
    """Return maps into each of which the coarser ones went.

    Args:
        maps: (N, C_l, H_l, W_l), fine to coarse.
        laterals: for all levels but the finest, from the coarsest on; their outputs stay in place of the maps.
        blocks: that fuse the output of a lateral, at twice its size, with the next finer map.
    """
    maps = list(maps)
    for coarse, lateral, block in zip(range(len(maps) - 1, 0, -1), laterals, blocks, strict=True):
        maps[coarse] = lateral(maps[coarse])
        from_above = resized(maps[coarse], like=maps[coarse - 1])
        maps[coarse - 1] = block(torch.cat((from_above, maps[coarse - 1]), dim=1))
    return maps


def bottom_up(maps: Sequence[Tensor], downsamples: Iterable[nn.Module], blocks: Iterable[nn.Module]) -> list[Tensor]:
    """Return maps into each of which the finer ones went.

    Args:
        maps: (N, C_l, H_l, W_l), fine to coarse.
        downsamples: from the finest level on, to the size of the next coarser one.
        blocks: that fuse the output of `downsamples` with the next coarser map.
    """
    maps = list(maps)
    for fine, downsample, block in zip(range(len(maps) - 1), downsamples, blocks, strict=True):
        maps[fine + 1] = block(torch.cat((downsample(maps[fine]), maps[fine + 1]), dim=1))
    return maps

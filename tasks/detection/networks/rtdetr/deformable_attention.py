"""Deformable attention: each query looks at a few points of every level, and not at all pixels."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vertebra.tasks.detection.networks.rtdetr.attention import require_heads

Grids = tuple[tuple[int, int], ...]  # (H, W) of each level, fine to coarse


class DeformableAttention(nn.Module):
    """Attention to points around a reference box that the query chooses, in plain PyTorch.

    Deformable DETR, Zhu et al. 2020, https://arxiv.org/abs/2010.04159.

    Args:
        channels: of queries and values.
        num_heads: divides the channels.
        num_levels: of the pyramid.
        num_points: that each head looks at on each level.

    Shape:
        - queries: (N, Q, channels)
        - references: (N, Q, 4) float32 cxcywh, parts of the image
        - values: (N, S, channels), the pixels of all levels
        - grids: sizes of the levels, whose pixels sum to S
        - output: (N, Q, channels)
    """

    def __init__(self, channels: int, num_heads: int, num_levels: int, num_points: int) -> None:
        super().__init__()
        require_heads(channels, num_heads)
        self.shape = (num_heads, num_levels, num_points)
        self.sampling_offsets = nn.Linear(channels, math.prod(self.shape) * 2)
        self.attention_weights = nn.Linear(channels, math.prod(self.shape))
        self.value_proj = nn.Linear(channels, channels)
        self.output_proj = nn.Linear(channels, channels)
        self._initialize()

    def _initialize(self) -> None:
        """Let each head look in a direction of its own, the further the higher the number of the point."""
        heads, levels, points = self.shape
        angles = torch.arange(heads, dtype=torch.float32) * (2 * math.pi / heads)
        directions = torch.stack((angles.cos(), angles.sin()), dim=-1)
        directions = directions / directions.abs().amax(dim=-1, keepdim=True)
        offsets = directions[:, None, None] * torch.arange(1, points + 1)[:, None]  # (heads, 1, points, 2)
        nn.init.zeros_(self.sampling_offsets.weight)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(offsets.expand(-1, levels, -1, -1).flatten())
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        for layer in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, queries: Tensor, references: Tensor, values: Tensor, grids: Grids) -> Tensor:
        heads, _, points = self.shape
        num_images, num_queries, _ = queries.shape
        # positions in float32: in bfloat16 they would be pixels apart
        offsets = self.sampling_offsets(queries).float().unflatten(-1, (*self.shape, 2))
        references = references[:, :, None, None, None]
        places = references[..., :2] + offsets / points * references[..., 2:] * 0.5  # (N, Q, heads, levels, points, 2)
        places = (2 * places - 1).transpose(1, 2).flatten(0, 1)  # (N * heads, Q, levels, points, 2), in -1..1
        weights = self.attention_weights(queries).float().unflatten(-1, (heads, -1)).softmax(dim=-1)
        weights = weights.transpose(1, 2).reshape(num_images * heads, 1, num_queries, -1)

        projected = self.value_proj(values).float().unflatten(-1, (heads, -1))  # (N, S, heads, channels / heads)
        sampled = []
        for i, of_level in enumerate(projected.split([height * width for height, width in grids], dim=1)):
            maps = of_level.permute(0, 2, 3, 1).reshape(num_images * heads, -1, *grids[i])
            sampled.append(F.grid_sample(maps, places[:, :, i], align_corners=False))  # (N * heads, c, Q, points)
        found = (torch.cat(sampled, dim=-1) * weights).sum(dim=-1)  # (N * heads, c, Q)
        return self.output_proj(found.view(num_images, -1, num_queries).transpose(1, 2))

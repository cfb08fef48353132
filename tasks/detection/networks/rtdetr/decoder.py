"""The decoder of RT-DETR: queries attend to each other and to the pyramid, and refine their boxes layer by layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vertebra.tasks.detection.networks.rtdetr.attention import SelfAttention, perceptron
from vertebra.tasks.detection.networks.rtdetr.coordinates import inverse_sigmoid
from vertebra.tasks.detection.networks.rtdetr.deformable_attention import DeformableAttention, Grids


class DecoderLayer(nn.Module):
    """Self-attention of the queries, deformable attention to the pyramid, a perceptron; norms behind the sums.

    Args:
        channels: of queries and pixels.
        num_heads: of both attentions.
        feedforward: width of the perceptron.
        num_levels: of the pyramid.
        num_points: that each head looks at on each level.

    Shape:
        queries (N, Q, channels) -> the same
    """

    def __init__(self, channels: int, num_heads: int, feedforward: int, num_levels: int, num_points: int) -> None:
        super().__init__()
        self.self_attn = SelfAttention(channels, num_heads)
        self.self_attn_norm = nn.LayerNorm(channels)
        self.cross_attn = DeformableAttention(channels, num_heads, num_levels, num_points)
        self.cross_attn_norm = nn.LayerNorm(channels)
        self.mlp = perceptron(channels, feedforward, channels)
        self.mlp_norm = nn.LayerNorm(channels)

    def forward(
        self,
        queries: Tensor,
        positions: Tensor,
        references: Tensor,
        pixels: Tensor,
        grids: Grids,
        mask: Tensor | None,
    ) -> Tensor:
        queries = self.self_attn_norm(queries + self.self_attn(queries, positions, mask))
        queries = self.cross_attn_norm(queries + self.cross_attn(queries + positions, references, pixels, grids))
        return self.mlp_norm(queries + self.mlp(queries))


class Decoder(nn.Module):
    """Layers that each classify the queries and correct the boxes of the layer before.

    The loss of a layer also reaches the box head of the layer before, as in the authors' code and DINO's "look forward
    twice" (Zhang et al. 2022, https://arxiv.org/abs/2203.03605), section 3.5; transformers' port stops that gradient.
    The numbers of the forward pass are the same.

    Args:
        num_layers: L.
        channels: of queries and pixels.
        num_classes: K, without the background.
        num_heads: of the attentions.
        feedforward: width of the perceptrons.
        num_levels: of the pyramid.
        num_points: that each head looks at on each level.

    Shape:
        - queries: (N, Q, channels)
        - references: (N, Q, 4) float32, logits of cxcywh, without gradient
        - pixels: (N, S, channels) of all levels, whose sizes are `grids`
        - mask: (Q, Q) bool, as in `SelfAttention`
        - output: logits (L, N, Q, K) and boxes (L, N, Q, 4), cxcywh in 0..1, both float32; L is 1 with `last_only`
    """

    def __init__(
        self,
        num_layers: int,
        channels: int,
        num_classes: int,
        num_heads: int,
        feedforward: int,
        num_levels: int,
        num_points: int,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            DecoderLayer(channels, num_heads, feedforward, num_levels, num_points) for _ in range(num_layers)
        )
        self.query_position = perceptron(4, 2 * channels, channels)
        self.class_heads = nn.ModuleList(nn.Linear(channels, num_classes) for _ in range(num_layers))
        self.box_heads = nn.ModuleList(perceptron(channels, channels, channels, 4) for _ in range(num_layers))
        for layer in (self.query_position[0], self.query_position[2]):
            nn.init.xavier_uniform_(layer.weight)  # type: ignore[arg-type]

    def forward(
        self,
        queries: Tensor,
        references: Tensor,
        pixels: Tensor,
        grids: Grids,
        mask: Tensor | None = None,
        last_only: bool = False,
    ) -> tuple[Tensor, Tensor]:
        logits, boxes = [], []
        before = references.sigmoid()
        for number, layer in enumerate(self.layers):
            start = before.detach()
            queries = layer(queries, self.query_position(start), start, pixels, grids, mask)
            change = self.box_heads[number](queries).float()
            after = (change + inverse_sigmoid(start)).sigmoid()
            if not last_only or number == len(self.layers) - 1:
                logits.append(self.class_heads[number](queries).float())
                boxes.append((change + inverse_sigmoid(before)).sigmoid() if self.training else after)
            before = after
        return torch.stack(logits), torch.stack(boxes)

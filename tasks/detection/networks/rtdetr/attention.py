"""Parts of a transformer layer: multi-head self-attention and the perceptrons."""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn


class SelfAttention(nn.Module):
    """Multi-head self-attention; positions enter queries and keys, and not the values.

    Attention Is All You Need, Vaswani et al. 2017, https://arxiv.org/abs/1706.03762.

    Args:
        channels: of the tokens.
        num_heads: divides the channels.

    Shape:
        - tokens: (N, S, channels)
        - positions: broadcasts to the tokens
        - mask: (S, S) bool, True where the token of a row sees that of a column; all see all if not given
        - output: (N, S, channels)
    """

    def __init__(self, channels: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (nn.Linear(channels, channels) for _ in range(4))
        for layer in self.children():
            nn.init.xavier_uniform_(layer.weight)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, tokens: Tensor, positions: Tensor, mask: Tensor | None = None) -> Tensor:
        placed = tokens + positions
        inputs = ((self.q_proj, placed), (self.k_proj, placed), (self.v_proj, tokens))
        q, k, v = (layer(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for layer, x in inputs)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)  # (N, heads, S, channels / heads)
        return self.o_proj(mixed.transpose(1, 2).flatten(2))


def perceptron(*widths: int) -> nn.Sequential:
    """Build linear layers between `widths`, with a ReLU between them."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers[:-1])


def require_heads(channels: int, num_heads: int) -> None:
    """Raise a ValueError where the heads of an attention do not divide its channels."""
    if channels % num_heads:
        raise ValueError(f"there are {channels} channels and {num_heads} attention heads; give a number that divides.")

"""Pooling over the images of a study or the slices of a volume: mean, max, attention.

Each layer maps features (N, I, C) and a mask of present images, (N, I) bool with at least one per study (None without
padding), to (N, C). Padding entries do not affect the result as long as they are finite: 0 * NaN is NaN.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Pooling = Literal["mean", "max", "attention"]


class MeanPooling(nn.Module):
    """Mean over the present images."""

    def forward(self, features: Tensor, present: Tensor | None = None) -> Tensor:
        if present is None:
            return features.mean(dim=1)
        # per study: the number of images differs within a batch
        weights = present.to(features.dtype) / present.sum(dim=1, keepdim=True)
        return (weights[:, :, None] * features).sum(dim=1)


class MaxPooling(nn.Module):
    """Maximum of each channel over the present images."""

    def forward(self, features: Tensor, present: Tensor | None = None) -> Tensor:
        if present is not None:
            # -inf never wins and has no gradient
            features = features.masked_fill(~present[:, :, None], -torch.inf)
        return features.amax(dim=1)


class AttentionPooling(nn.Module):
    """Gated attention pooling: a mean with learned weights, trained from study labels alone.

    Attention-based Deep Multiple Instance Learning, Ilse et al. 2018, https://arxiv.org/abs/1802.04712, equation 9,
    with biases in the two inner layers as in the authors' code.

    Args:
        channels: C.
        hidden: units of the two inner layers; 128 as in the paper.
    """

    def __init__(self, channels: int, hidden: int = 128) -> None:
        super().__init__()
        self.content = nn.Linear(channels, hidden)
        self.gate = nn.Linear(channels, hidden)
        self.score = nn.Linear(hidden, 1, bias=False)  # softmax is invariant to a bias

    def weights(self, features: Tensor, present: Tensor | None = None) -> Tensor:
        """Return the attention weights, (N, I) float32 in 0..1: sum 1 over a study, 0 for padding."""
        hidden = torch.tanh(self.content(features)) * torch.sigmoid(self.gate(features))
        # softmax in float32: 16-bit weights of many slices do not sum to 1
        scores = self.score(hidden)[:, :, 0].float()
        if present is not None:
            scores = scores.masked_fill(~present, -torch.inf)
        return scores.softmax(dim=1)

    def forward(self, features: Tensor, present: Tensor | None = None) -> Tensor:
        return (self.weights(features, present)[:, :, None] * features).sum(dim=1)


def pooling_layer(pooling: Pooling, channels: int) -> nn.Module:
    """Build a pooling layer by name.

    Args:
        pooling: `mean`, `max` or `attention`.
        channels: channels of the features.

    Raises:
        ValueError: unknown name.
    """
    if pooling == "mean":
        return MeanPooling()
    if pooling == "max":
        return MaxPooling()
    if pooling == "attention":
        return AttentionPooling(channels)
    raise ValueError(f"pooling is {pooling!r}; choose mean, max or attention.")

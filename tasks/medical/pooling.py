"""How the features of several images or slices become one vector for their study.

All take features (N, I, C) and which of the I are there, (N, I) bool with at least one a study (None: all of them are),
and give (N, C). What stands at a place where there is none changes nothing, as long as it is finite.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Pooling = Literal["mean", "max", "attention"]


class MeanPooling(nn.Module):
    """The mean of those that are there."""

    def forward(self, features: Tensor, present: Tensor | None = None) -> Tensor:
        if present is None:
            return features.mean(dim=1)
        weights = present.to(features.dtype) / present.sum(dim=1, keepdim=True)
        return (weights[:, :, None] * features).sum(dim=1)


class MaxPooling(nn.Module):
    """The largest value of each channel among those that are there."""

    def forward(self, features: Tensor, present: Tensor | None = None) -> Tensor:
        if present is not None:
            features = features.masked_fill(~present[:, :, None], -torch.inf)
        return features.amax(dim=1)


class AttentionPooling(nn.Module):
    """A mean whose weights are learned: which images of a study tell its class is found without labels of images.

    Attention-based Deep Multiple Instance Learning, Ilse et al. 2018, https://arxiv.org/abs/1802.04712, gated
    (equation 9), with biases in the two inner layers as in the authors' code.

    Args:
        channels: C.
        hidden: units of the two layers that make the weights; the paper's 128.
    """

    def __init__(self, channels: int, hidden: int = 128) -> None:
        super().__init__()
        self.content = nn.Linear(channels, hidden)
        self.gate = nn.Linear(channels, hidden)
        self.score = nn.Linear(hidden, 1, bias=False)  # the softmax would take a bias away

    def weights(self, features: Tensor, present: Tensor | None = None) -> Tensor:
        """Return how much each counts, (N, I) float32 in 0..1, with sum 1 over a study and 0 where there is none."""
        hidden = torch.tanh(self.content(features)) * torch.sigmoid(self.gate(features))
        scores = self.score(hidden)[:, :, 0].float()
        if present is not None:
            scores = scores.masked_fill(~present, -torch.inf)
        return scores.softmax(dim=1)

    def forward(self, features: Tensor, present: Tensor | None = None) -> Tensor:
        return (self.weights(features, present)[:, :, None] * features).sum(dim=1)


def pooling_layer(pooling: Pooling, channels: int) -> nn.Module:
    """Build the pooling called `pooling` for features of so many channels.

    Raises:
        ValueError: there is none of this name.
    """
    if pooling == "mean":
        return MeanPooling()
    if pooling == "max":
        return MaxPooling()
    if pooling == "attention":
        return AttentionPooling(channels)
    raise ValueError(f"pooling is {pooling!r}; choose mean, max or attention.")

"""Linear classification head."""

from __future__ import annotations

from torch import Tensor, nn


class LinearHead(nn.Module):
    """Dropout and a linear layer.

    Args:
        channels: channels of the features.
        num_classes: number of classes K.
        drop_rate: dropout probability, from 0 to below 1.

    Shape:
        (N, channels) -> (N, K) logits
    """

    def __init__(self, channels: int, num_classes: int, drop_rate: float = 0.0) -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"num_classes is {num_classes}; expected 1 or more.")
        if not 0 <= drop_rate < 1:
            raise ValueError(f"drop_rate is {drop_rate}; expected a probability from 0 to below 1.")
        self.dropout = nn.Dropout(drop_rate)
        self.fc = nn.Linear(channels, num_classes)
        # near-uniform initial probabilities whatever the scale of the backbone's features
        nn.init.normal_(self.fc.weight, std=0.01)
        nn.init.zeros_(self.fc.bias)

    def forward(self, features: Tensor) -> Tensor:
        return self.fc(self.dropout(features))

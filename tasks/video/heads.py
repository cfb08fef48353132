"""Classification heads for clips: average pooling, GRU, and the head of X3D."""

from __future__ import annotations

from torch import Tensor, nn

from vertebra.backbones.layers import Norm, conv, norm_layer


class AvgPoolHead(nn.Module):
    """Global average pooling over time and space, dropout, and a linear classifier.

    Args:
        in_channels: channels of the input map.
        num_classes: number of classes K.
        drop_rate: dropout on the pooled features, in 0..1.

    Shape:
        (N, in_channels, T, H, W) -> (N, num_classes) logits
    """

    def __init__(self, in_channels: int, num_classes: int, drop_rate: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(drop_rate)
        self.fc = linear_classifier(in_channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.dropout(x.mean(dim=(2, 3, 4))))


class RecurrentHead(nn.Module):
    """Spatial average pooling per frame, a GRU over the frames, and a linear classifier on its last state.

    GRU: Learning Phrase Representations using RNN Encoder-Decoder, Cho et al. 2014, https://arxiv.org/abs/1406.1078.
    On frame features as in Long-term Recurrent Convolutional Networks, Donahue et al. 2014,
    https://arxiv.org/abs/1411.4389, there with an LSTM.

    Args:
        in_channels: channels of the input map.
        num_classes: number of classes K.
        drop_rate: dropout before the classifier, in 0..1.
        hidden: units of the GRU.

    Shape:
        (N, in_channels, T, H, W) -> (N, num_classes) logits
    """

    def __init__(self, in_channels: int, num_classes: int, drop_rate: float, hidden: int) -> None:
        super().__init__()
        self.recurrent = nn.GRU(in_channels, hidden, batch_first=True)
        self.dropout = nn.Dropout(drop_rate)
        self.fc = linear_classifier(hidden, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.recurrent(x.mean(dim=(3, 4)).transpose(1, 2))
        return self.fc(self.dropout(states[:, -1]))


class X3DHead(nn.Module):
    """X3D head (`conv5` and `fc`): 1x1x1 convolutions before and after global average pooling, and a linear classifier.

    X3D: Expanding Architectures for Efficient Video Recognition, Feichtenhofer 2020, https://arxiv.org/abs/2004.04730.
    The second convolution acts on a single voxel, so that its large width costs little.

    Args:
        in_channels: channels of the input map.
        num_classes: number of classes K.
        drop_rate: dropout before the classifier, in 0..1.
        norm: see `BackboneOptions`.
        widths: channels of the convolutions before and after the pooling; see `Backbone.head_widths`.

    Shape:
        (N, in_channels, T, H, W) -> (N, num_classes) logits
    """

    def __init__(
        self, in_channels: int, num_classes: int, drop_rate: float, norm: Norm, widths: tuple[int, int]
    ) -> None:
        super().__init__()
        inner, width = widths
        self.conv1 = conv(3, in_channels, inner, kernel_size=1)
        self.bn1 = norm_layer(3, inner, norm)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = conv(3, inner, width, kernel_size=1)  # without a norm, as in the paper: one voxel per clip
        self.dropout = nn.Dropout(drop_rate)
        self.fc = linear_classifier(width, num_classes)
        for convolution in (self.conv1, self.conv2):
            nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.conv2(x.mean(dim=(2, 3, 4), keepdim=True)))
        return self.fc(self.dropout(x.flatten(1)))


def linear_classifier(in_features: int, num_classes: int) -> nn.Linear:
    """Build a linear layer with near-uniform initial probabilities: normal weights of std 0.01, as in pytorchvideo."""
    layer = nn.Linear(in_features, num_classes)
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
    return layer

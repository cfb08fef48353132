"""What stands behind a backbone for clips: its last map in, logits out."""

from __future__ import annotations

from torch import Tensor, nn

from vertebra.backbones.layers import Norm, conv, norm_layer


class MeanHead(nn.Module):
    """The mean over time and space, and a linear classifier.

    Args:
        in_channels: channels of the map.
        num_classes: number of classes.
        drop_rate: of the means, in training.

    Shape:
        (N, in_channels, T, H, W) -> (N, num_classes), logits
    """

    def __init__(self, in_channels: int, num_classes: int, drop_rate: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(drop_rate)
        self.fc = linear(in_channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.dropout(x.mean(dim=(2, 3, 4))))


class RecurrentHead(nn.Module):
    """The mean of every frame, a gated recurrent layer over the frames in turn, and a linear classifier on its end.

    Learning Phrase Representations using RNN Encoder-Decoder, Cho et al. 2014, https://arxiv.org/abs/1406.1078, on
    features of frames as in Long-term Recurrent Convolutional Networks, Donahue et al. 2014,
    https://arxiv.org/abs/1411.4389.

    Args:
        in_channels: channels of the map.
        num_classes: number of classes.
        drop_rate: of what the classifier sees, in training.
        hidden: units of the recurrent layer.

    Shape:
        (N, in_channels, T, H, W) -> (N, num_classes), logits
    """

    def __init__(self, in_channels: int, num_classes: int, drop_rate: float, hidden: int) -> None:
        super().__init__()
        self.recurrent = nn.GRU(in_channels, hidden, batch_first=True)
        self.dropout = nn.Dropout(drop_rate)
        self.fc = linear(hidden, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.recurrent(x.mean(dim=(3, 4)).transpose(1, 2))
        return self.fc(self.dropout(states[:, -1]))


class X3DHead(nn.Module):
    """A widening before the mean over time and space and a wider one behind it, then a linear classifier.

    X3D: Expanding Architectures for Efficient Video Recognition, Feichtenhofer 2020, https://arxiv.org/abs/2004.04730:
    from `conv5` on. Behind the mean there is one pixel, so the width there costs little.

    Args:
        in_channels: channels of the map.
        num_classes: number of classes.
        drop_rate: of what the classifier sees, in training.
        norm: see `BackboneOptions`.
        widths: channels of the hidden layers before and after the pooling; see `Backbone.head_widths`.

    Shape:
        (N, in_channels, T, H, W) -> (N, num_classes), logits
    """

    def __init__(
        self, in_channels: int, num_classes: int, drop_rate: float, norm: Norm, widths: tuple[int, int]
    ) -> None:
        super().__init__()
        inner, width = widths
        self.conv1 = conv(3, in_channels, inner, kernel_size=1)
        self.bn1 = norm_layer(3, inner, norm)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = conv(3, inner, width, kernel_size=1)
        self.dropout = nn.Dropout(drop_rate)
        self.fc = linear(width, num_classes)
        for convolution in (self.conv1, self.conv2):
            nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.conv2(x.mean(dim=(2, 3, 4), keepdim=True)))
        return self.fc(self.dropout(x.flatten(1)))


def linear(in_features: int, num_classes: int) -> nn.Linear:
    """Build a classifier that begins without a preference: small weights, as torchvision and pytorchvideo draw them."""
    layer = nn.Linear(in_features, num_classes)
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
    return layer

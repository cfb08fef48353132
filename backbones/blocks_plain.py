"""Blocks without a clean shortcut: those that the residual block is measured against."""

from __future__ import annotations

from torch import Tensor, nn

from vertebra.backbones.blocks import BlockSpec
from vertebra.backbones.layers import conv, norm_layer


class PlainBlock(nn.Module):
    """Two 3x3 convolutions with nothing beside them.

    The plain networks of Deep Residual Learning for Image Recognition, He et al. 2015, https://arxiv.org/abs/1512.03385.

    Args:
        place: where the block stands; stochastic depth would leave nothing of it and is refused.

    Attributes:
        out_channels: `place.width`.

    Shape:
        (N, in_channels, H, W) -> (N, width, H / stride, W / stride), with a depth in front of H where dim is 3.

    Raises:
        ValueError: a drop rate is asked for.
    """

    folds = (("conv1", "bn1"), ("conv2", "bn2"))

    def __init__(self, place: BlockSpec) -> None:
        super().__init__()
        refuse_drop_path(place)
        dim, norm, width = place.dim, place.norm, place.width
        self.out_channels = width
        self.conv1 = conv(dim, place.in_channels, width, 3, stride=place.stride, dilation=place.dilation)
        self.bn1 = norm_layer(dim, width, norm)
        self.conv2 = conv(dim, width, width, 3, dilation=place.last_dilation)
        self.bn2 = norm_layer(dim, width, norm)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(x)))


class HighwayBlock(nn.Module):
    """A 3x3 convolution and a learned gate that says how much of it replaces the input.

    Highway Networks, Srivastava et al. 2015, https://arxiv.org/abs/1505.00387. Differs from the paper: a norm stands
    behind the transform's convolution. Where the shapes of input and output differ there is nothing to carry over, and
    the block is the transform alone.

    Args:
        place: where the block stands; stochastic depth is refused.

    Attributes:
        out_channels: `place.width`.

    Shape:
        (N, in_channels, H, W) -> (N, width, H / stride, W / stride), with a depth in front of H where dim is 3.

    Raises:
        ValueError: a drop rate is asked for.
    """

    folds = (("conv1", "bn1"),)

    def __init__(self, place: BlockSpec) -> None:
        super().__init__()
        refuse_drop_path(place)
        dim, width = place.dim, place.width
        self.out_channels = width
        self.conv1 = conv(dim, place.in_channels, width, 3, stride=place.stride, dilation=place.dilation)
        self.bn1 = norm_layer(dim, width, place.norm)
        self.relu = nn.ReLU(inplace=True)
        carries = place.in_channels == width and max(place.stride) == 1
        self.gate = conv(dim, width, width, 3, dilation=place.dilation, bias=True) if carries else None
        if self.gate is not None:
            nn.init.constant_(self.gate.bias, -2.0)  # type: ignore[arg-type]  # begins by carrying, as in the paper

    def forward(self, x: Tensor) -> Tensor:
        transformed = self.relu(self.bn1(self.conv1(x)))
        if self.gate is None:
            return transformed
        gate = self.gate(x).sigmoid()
        return transformed * gate + x * (1 - gate)


def refuse_drop_path(place: BlockSpec) -> None:
    """Raise a ValueError where stochastic depth is asked of a block that has no residual branch."""
    if place.drop_rate:
        raise ValueError(
            f"drop_path_rate gives {place.drop_rate:.3g} at this block, which has no residual branch to leave out; "
            "set drop_path_rate=0, or choose a residual network."
        )

"""Baselines of the residual block: a plain block without a shortcut, and a highway block with a gated one."""

from __future__ import annotations

from torch import Tensor, nn

from vertebra.backbones.blocks import BlockSpec
from vertebra.backbones.frozen_norms import chain
from vertebra.backbones.layers import conv, norm_layer


class PlainBlock(nn.Module):
    """Plain block: two 3x3 convolutions without a shortcut.

    The plain networks of Deep Residual Learning for Image Recognition, He et al. 2015, https://arxiv.org/abs/1512.03385.

    Args:
        spec: position and shape of the block; its drop rate must be 0.

    Attributes:
        out_channels: `spec.width`.

    Shape:
        (N, in_channels, H, W) -> (N, width, H / stride, W / stride), and (N, C, D, H, W) with `dim=3`.

    Raises:
        ValueError: the drop rate is not 0.
    """

    folds = (("conv1", "bn1"), ("conv2", "bn2"))

    def __init__(self, spec: BlockSpec) -> None:
        super().__init__()
        refuse_drop_path(spec)
        dim, norm, width = spec.dim, spec.norm, spec.width
        self.out_channels = width
        self.conv1 = conv(dim, spec.in_channels, width, 3, stride=spec.stride, dilation=spec.dilation)
        self.bn1 = norm_layer(dim, width, norm)
        self.conv2 = conv(dim, width, width, 3, dilation=spec.last_dilation)
        self.bn2 = norm_layer(dim, width, norm)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return chain(x, self.conv1, self.bn1, self.relu, self.conv2, self.bn2, self.relu)


class HighwayBlock(nn.Module):
    """Highway block: a 3x3 convolution, and a learned gate between its output and the input.

    Highway Networks, Srivastava et al. 2015, https://arxiv.org/abs/1505.00387. Unlike in the paper, a norm follows the
    transform's convolution. Where the shapes of input and output differ nothing can be carried over, and the block is
    the transform alone.

    Args:
        spec: position and shape of the block; its drop rate must be 0.

    Attributes:
        out_channels: `spec.width`.

    Shape:
        (N, in_channels, H, W) -> (N, width, H / stride, W / stride), and (N, C, D, H, W) with `dim=3`.

    Raises:
        ValueError: the drop rate is not 0.
    """

    folds = (("conv1", "bn1"),)

    def __init__(self, spec: BlockSpec) -> None:
        super().__init__()
        refuse_drop_path(spec)
        dim, width = spec.dim, spec.width
        self.out_channels = width
        self.conv1 = conv(dim, spec.in_channels, width, 3, stride=spec.stride, dilation=spec.dilation)
        self.bn1 = norm_layer(dim, width, spec.norm)
        self.relu = nn.ReLU(inplace=True)
        carries = spec.in_channels == width and max(spec.stride) == 1
        self.gate = conv(dim, width, width, 3, dilation=spec.dilation, bias=True) if carries else None
        if self.gate is not None:
            nn.init.constant_(self.gate.bias, -2.0)  # type: ignore[arg-type]  # starts by carrying the input, as in the paper

    def forward(self, x: Tensor) -> Tensor:
        transformed = chain(x, self.conv1, self.bn1, self.relu)
        if self.gate is None:
            return transformed
        gate = self.gate(x).sigmoid()
        return transformed * gate + x * (1 - gate)


def refuse_drop_path(spec: BlockSpec) -> None:
    """Raise a ValueError for stochastic depth in a block without a residual branch."""
    if spec.drop_rate:
        raise ValueError(
            f"drop_path_rate gives {spec.drop_rate:.3g} at this block, which has no residual branch to drop; "
            "set drop_path_rate=0, or choose a residual network."
        )

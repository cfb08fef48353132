"""The neck of RT-DETR: attention within the coarsest level, convolutions across levels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vertebra.backbones.backbone import Level
from vertebra.backbones.layers import Norm, conv, norm_layer
from vertebra.backbones.pyramid import pyramid_levels, steps
from vertebra.tasks.detection.networks.rtdetr.attention import SelfAttention, require_heads
from vertebra.tasks.detection.parts.paths import bottom_up, top_down

NUM_REP_BLOCKS = 3
TEMPERATURE = 10_000  # of the wavelengths of positions


def conv_norm(
    in_channels: int, channels: int, size: int, norm: Norm, stride: int = 1, act: bool = True
) -> nn.Sequential:
    """Build a convolution, a norm and, with `act`, a SiLU."""
    layers = [conv(2, in_channels, channels, size, stride=stride), norm_layer(2, channels, norm)]
    return nn.Sequential(*layers, *([nn.SiLU(inplace=True)] if act else []))


class RepBlock(nn.Module):
    """A 3x3 beside a 1x1 convolution.

    RepVGG, Ding et al. 2021, https://arxiv.org/abs/2101.03697; the two are not merged for inference.

    Shape:
        (N, channels, H, W) -> the same
    """

    def __init__(self, channels: int, norm: Norm) -> None:
        super().__init__()
        self.conv1 = conv_norm(channels, channels, 3, norm, act=False)
        self.conv2 = conv_norm(channels, channels, 1, norm, act=False)
        self.act = nn.SiLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.conv1(x) + self.conv2(x))


class CSPBlock(nn.Module):
    """Fusion of two maps that lie on top of each other: a branch of `RepBlock`s beside a plain one.

    CSPNet, Wang et al. 2019, https://arxiv.org/abs/1911.11929.

    Args:
        channels: of each of the two maps, and of the output.
        expansion: channels of the branches over those.
        norm: see `BackboneOptions`.

    Shape:
        (N, 2 * channels, H, W) -> (N, channels, H, W)
    """

    def __init__(self, channels: int, expansion: float, norm: Norm) -> None:
        super().__init__()
        hidden = int(channels * expansion)
        self.conv1 = conv_norm(2 * channels, hidden, 1, norm)
        self.conv2 = conv_norm(2 * channels, hidden, 1, norm)
        self.blocks = nn.Sequential(*[RepBlock(hidden, norm) for _ in range(NUM_REP_BLOCKS)])
        self.conv3 = conv_norm(hidden, channels, 1, norm) if hidden != channels else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3(self.blocks(self.conv1(x)) + self.conv2(x))


class EncoderLayer(nn.Module):
    """A transformer layer over all pixels of a map, with norms behind the residual sums.

    Args:
        channels: of the map, which 4 and `num_heads` divide.
        num_heads: of the attention.
        feedforward: width of the perceptron.

    Shape:
        (N, channels, H, W) -> the same
    """

    def __init__(self, channels: int, num_heads: int, feedforward: int) -> None:
        super().__init__()
        self.self_attn = SelfAttention(channels, num_heads)
        self.self_attn_norm = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(nn.Linear(channels, feedforward), nn.GELU(), nn.Linear(feedforward, channels))
        self.mlp_norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        positions = grid_positions(height, width, x.shape[1], x.device).to(x.dtype)
        tokens = x.flatten(2).transpose(1, 2)
        tokens = self.self_attn_norm(tokens + self.self_attn(tokens, positions))
        tokens = self.mlp_norm(tokens + self.mlp(tokens))
        return tokens.transpose(1, 2).unflatten(2, (height, width))


def grid_positions(height: int, width: int, channels: int, device: torch.device) -> Tensor:
    """Return sines and cosines of the rows and columns of a grid, (height * width, channels), row by row."""
    frequencies = TEMPERATURE ** -(torch.arange(channels // 4, device=device, dtype=torch.float32) / (channels // 4))
    rows = torch.arange(height, device=device)[:, None] * frequencies  # (H, channels / 4)
    columns = torch.arange(width, device=device)[:, None] * frequencies
    rows = torch.cat((rows.sin(), rows.cos()), dim=1)[:, None].expand(-1, width, -1)
    columns = torch.cat((columns.sin(), columns.cos()), dim=1)[None].expand(height, -1, -1)
    return torch.cat((rows, columns), dim=-1).flatten(0, 1)


class HybridEncoder(nn.Module):
    """Self-attention on the coarsest map, then a top-down and a bottom-up path of convolutions.

    RT-DETR, Zhao et al. 2023, https://arxiv.org/abs/2304.08069, section 4.2: AIFI and CCFF.

    Args:
        levels: of the backbone, fine to coarse.
        channels: of the pyramid; 4 and `num_heads` divide it.
        num_heads: of the attention.
        feedforward: width of the perceptron behind the attention.
        expansion: channels within the fusion blocks over `channels`.
        norm: of the convolutions, see `BackboneOptions`.

    Attributes:
        levels: of the pyramid: P3 for C3 and so on.

    Shape:
        dict with a map (N, level.channels, H_l, W_l) a level -> dict of (N, channels, H_l, W_l)

    Raises:
        ValueError: the levels are those of clips or volumes, or the channels do not divide.
    """

    def __init__(
        self,
        levels: Sequence[Level],
        channels: int = 256,
        num_heads: int = 8,
        feedforward: int = 1024,
        expansion: float = 1.0,
        norm: Norm = "batch",
    ) -> None:
        super().__init__()
        require_heads(channels, num_heads)
        if channels % 4:
            raise ValueError(
                f"the encoder has {channels} channels; positions are four waves each: give a multiple of 4."
            )
        if not all(isinstance(level.reduction, int) for level in levels):
            raise ValueError(
                f"the levels are {[tuple(level) for level in levels]}; RT-DETR is for images: take a 2-D backbone."
            )
        self.names = [level.name for level in levels]
        self.levels = pyramid_levels(levels, channels, num_extra=0)
        strides = [step[0] for step in steps(levels)]
        self.input_proj = nn.ModuleList(conv_norm(x.channels, channels, 1, norm, act=False) for x in levels)
        self.aifi = EncoderLayer(channels, num_heads, feedforward)
        # top-down first to last, which is from the coarsest level on
        self.lateral_convs = nn.ModuleList(conv_norm(channels, channels, 1, norm) for _ in strides)
        self.fpn_blocks = nn.ModuleList(CSPBlock(channels, expansion, norm) for _ in strides)
        self.downsample_convs = nn.ModuleList(conv_norm(channels, channels, 3, norm, stride=s) for s in strides)
        self.pan_blocks = nn.ModuleList(CSPBlock(channels, expansion, norm) for _ in strides)

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        maps = [project(features[name]) for project, name in zip(self.input_proj, self.names, strict=True)]
        maps[-1] = self.aifi(maps[-1])
        maps = top_down(maps, self.lateral_convs, self.fpn_blocks)
        maps = bottom_up(maps, self.downsample_convs, self.pan_blocks)
        return {level.name: x for level, x in zip(self.levels, maps, strict=True)}

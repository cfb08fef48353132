"""Pre-norm Transformer encoder on the patches of an image.

An Image is Worth 16x16 Words, Dosovitskiy et al. 2020, https://arxiv.org/abs/2010.11929
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from vertebra.backbones.cpu_convolutions import Conv2d

EPS = 1e-6  # of the layer norms, as published weights were trained with


class PatchEmbedding(nn.Module):
    """Patches as tokens behind a class token, with learned position embeddings for images of any size.

    Images are padded with zeros at the right and at the bottom to whole patches. Embeddings for another number of
    patches are interpolated (bicubic, antialiased), as timm does.

    Args:
        in_channels: channels of the image.
        width: of the tokens.
        patch: pixels per side of a patch.
        grid: patches per side of the images for which the embeddings are stored.

    Shape:
        (N, in_channels, H, W) -> (N, 1 + ceil(H / patch) * ceil(W / patch), width), the class token first
    """

    def __init__(self, in_channels: int, width: int, patch: int, grid: int) -> None:
        super().__init__()
        self.patch = patch
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + grid * grid, width))
        self.proj = Conv2d(in_channels, width, kernel_size=patch, stride=patch)
        nn.init.normal_(self.cls_token, std=1e-6)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        maps = self.proj(F.pad(images, (0, -width % self.patch, 0, -height % self.patch)))
        tokens = maps.flatten(2).transpose(1, 2)
        # not len(tokens), which is a constant in an exported network
        tokens = torch.cat((self.cls_token.to(tokens.dtype).expand(tokens.shape[0], -1, -1), tokens), dim=1)
        return tokens + resized_positions(self.pos_embed, maps.shape[2], maps.shape[3])


def resized_positions(positions: Tensor, rows: int, columns: int) -> Tensor:
    """Interpolate position embeddings to another number of patches.

    Args:
        positions: (1, 1 + G * G, C), that of the class token first.
        rows: of patches.
        columns: of patches.

    Returns:
        (1, 1 + rows * columns, C)
    """
    grid = round((positions.shape[1] - 1) ** 0.5)
    # an exported network runs at other sizes than it was traced with
    if not torch.compiler.is_exporting() and (rows, columns) == (grid, grid):
        return positions
    maps = positions[:, 1:].float().unflatten(1, (grid, grid)).permute(0, 3, 1, 2)
    maps = F.interpolate(maps, size=(rows, columns), mode="bicubic", antialias=True, align_corners=False)
    return torch.cat((positions[:, :1], maps.flatten(2).transpose(1, 2).to(positions.dtype)), dim=1)


def is_square(positions: Tensor) -> bool:
    """Return whether position embeddings (1, 1 + L, C) are those of a square of patches behind a class token."""
    return positions.dim() == 3 and round((positions.shape[1] - 1) ** 0.5) ** 2 == positions.shape[1] - 1


class Attention(nn.Module):
    """Multi-head self-attention.

    Args:
        width: of the tokens.
        num_heads: number of heads, a divisor of `width`.

    Shape:
        (N, L, width) -> (N, L, width)
    """

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    @property
    def last_layer(self) -> nn.Module:
        """Last layer of the residual branch."""
        return self.proj

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.qkv(x).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """Two linear layers with a GELU between.

    Args:
        width: of the tokens.
        hidden: width between the two layers.

    Shape:
        (..., width) -> (..., width)
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, width)

    @property
    def last_layer(self) -> nn.Module:
        """Last layer of the residual branch."""
        return self.fc2

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


class EncoderBlock(nn.Module):
    """Pre-norm Transformer block: two residual branches, attention between the tokens and an MLP on each of them.

    Like a pre-activation residual block its shortcut is an identity from input to output.

    Args:
        width: of the tokens.
        num_heads: of the attention.
        hidden: width inside the MLP.
        drop_rate: probability of dropping each branch of a sample in training (stochastic depth).

    Shape:
        (N, L, width) -> (N, L, width)
    """

    def __init__(self, width: int, num_heads: int, hidden: int, drop_rate: float = 0.0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=EPS)
        self.attn = Attention(width, num_heads)
        self.norm2 = nn.LayerNorm(width, eps=EPS)
        self.mlp = MLP(width, hidden)
        self.drop_path = StochasticDepth(drop_rate, "row") if drop_rate else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))

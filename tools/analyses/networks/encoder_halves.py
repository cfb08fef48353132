"""Transformer blocks as two residual blocks each, attention and MLP, for analyses of residual branches."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, TypeVar

from torch import Tensor, nn

from vertebra.backbones.timm_bridge import is_timm_encoder_block
from vertebra.backbones.transformer import EncoderBlock

Module = TypeVar("Module", bound=nn.Module)


class EncoderHalf(nn.Module):
    """Residual block x + branch(norm(x)), the half of a pre-norm Transformer block.

    Args:
        norm: before the branch.
        branch: attention or MLP.
        drop_path: stochastic depth of the branch.

    Shape:
        (N, L, C) -> (N, L, C)
    """

    def __init__(self, norm: nn.Module, branch: nn.Module, drop_path: nn.Module) -> None:
        super().__init__()
        self.norm, self.branch, self.drop_path = norm, branch, drop_path

    @property
    def last_layer(self) -> nn.Module:
        """Last layer of the residual branch."""
        return self.branch.last_layer  # type: ignore[return-value]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop_path(self.branch(self.norm(x)))


class ScaledBranch(nn.Module):
    """Attention or MLP of a Transformer block of timm with its layer scale, (N, L, C) -> (N, L, C)."""

    def __init__(self, layer: nn.Module, scale: nn.Module) -> None:
        super().__init__()
        self.layer, self.scale = layer, scale

    @property
    def last_layer(self) -> nn.Module:
        """Last layer of the residual branch, an identity where nothing is scaled."""
        return self.scale

    def forward(self, x: Tensor) -> Tensor:
        return self.scale(self.layer(x))


def in_halves(module: Module) -> Module:
    """Replace each Transformer block by its two residual blocks `attn` and `mlp`, in place; return the module.

    Blocks are ours and those of timm's Vision Transformers, without subclasses, whose forward pass may be another.
    Outputs stay the same; names of the weights inside the blocks change.
    """
    block: Any
    for name, block in list(module.named_modules()):
        if isinstance(block, EncoderBlock):
            attn = EncoderHalf(block.norm1, block.attn, block.drop_path)
            mlp = EncoderHalf(block.norm2, block.mlp, block.drop_path)
        elif is_timm_encoder_block(block):
            attn = EncoderHalf(block.norm1, ScaledBranch(block.attn, block.ls1), block.drop_path1)
            mlp = EncoderHalf(block.norm2, ScaledBranch(block.mlp, block.ls2), block.drop_path2)
        else:
            continue
        halves: OrderedDict[str, nn.Module] = OrderedDict(attn=attn, mlp=mlp)
        module.set_submodule(name, nn.Sequential(halves).train(block.training))
    return module

"""Batch norms taken into the convolutions ahead of them, which costs inference nothing and saves it a pass."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import cast

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from vertebra.backbones.cpu_convolutions import Conv2d, Conv3d
from vertebra.backbones.layers import FrozenBatchNorm

Conv = nn.Conv2d | nn.Conv3d
# and no other that is derived from one: it may do more, as timm's norms do, which hold an activation
FOLDED_CONVS = (nn.Conv2d, nn.Conv3d, Conv2d, Conv3d)
FOLDED_NORMS = (nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, FrozenBatchNorm)


def fold_norms(network: nn.Module) -> int:
    """Fold every batch norm that stands right behind a convolution into it, in place; the outputs stay the same.

    A block says by its attribute `folds` which of its norms stands behind which convolution; in an `nn.Sequential` the
    order says it. Group norms stay, since they depend on the image, and so do the norms of pre-activation blocks that
    stand behind a sum, and all of classes that are only derived from PyTorch's and ours.

    Args:
        network: in evaluation mode; it cannot be trained afterwards, and its state dict has other keys.

    Returns:
        How many norms are gone.

    Raises:
        ValueError: the network is in training mode, in which a norm is not a fixed factor.
    """
    if network.training:
        raise ValueError("the network is in training mode, where norms follow the batch; call eval() first.")
    count = 0
    for module in list(network.modules()):
        for convolution, name in _pairs(module):
            norm = module.get_submodule(name)
            if type(convolution) not in FOLDED_CONVS or type(norm) not in FOLDED_NORMS:
                continue
            norm = cast(nn.BatchNorm2d, norm)
            mean, variance = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
            weight, bias = fuse_conv_bn_weights(
                convolution.weight, convolution.bias, mean, variance, norm.eps, norm.weight, norm.bias
            )
            convolution.weight, convolution.bias = nn.Parameter(weight.detach()), nn.Parameter(bias.detach())
            setattr(module, name, nn.Identity())
            count += 1
    return count


def _pairs(module: nn.Module) -> Iterator[tuple[Conv, str]]:
    """Find the convolutions of a module, and the name of what stands behind each."""
    if isinstance(module, nn.Sequential):
        for (_, first), (name, _) in pairwise(module.named_children()):
            if isinstance(first, Conv):
                yield first, name
    for conv_name, norm_name in cast("tuple[tuple[str, str], ...]", getattr(module, "folds", ())):
        convolution = module.get_submodule(conv_name)
        while isinstance(convolution, nn.Sequential):  # of several convolutions the last
            convolution = convolution[-1]
        if isinstance(convolution, Conv):
            yield convolution, norm_name

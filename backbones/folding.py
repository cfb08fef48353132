"""Batch norm folding: norms are merged into the preceding convolutions for faster inference."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import cast

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from vertebra.backbones.cpu_convolutions import Conv2d, Conv3d
from vertebra.backbones.layers import FrozenBatchNorm

Conv = nn.Conv2d | nn.Conv3d
# exact types only: subclasses may do more, as timm's norms, which include an activation
FOLDED_CONVS = (nn.Conv2d, nn.Conv3d, Conv2d, Conv3d)
FOLDED_NORMS = (nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, FrozenBatchNorm)


def fold_norms(network: nn.Module) -> int:
    """Fold every batch norm that directly follows a convolution into it, in place; outputs are unchanged.

    A block lists its pairs of convolution and norm as `folds`; in an `nn.Sequential` the order gives them. Group norms,
    whose statistics depend on the image, norms after a sum in pre-activation blocks, and subclasses of the known layers
    are not folded.

    Args:
        network: in evaluation mode; afterwards it cannot be trained, and its state dict has other keys.

    Returns:
        Number of norms folded.

    Raises:
        ValueError: the network is in training mode, in which a norm is not a fixed factor.
    """
    if network.training:
        raise ValueError("the network is in training mode, where norms use batch statistics; call eval() first.")
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
    """Yield the convolutions of a module, with the name of the submodule that follows each."""
    if isinstance(module, nn.Sequential):
        for (_, first), (name, _) in pairwise(module.named_children()):
            if isinstance(first, Conv):
                yield first, name
    for conv_name, norm_name in cast("tuple[tuple[str, str], ...]", getattr(module, "folds", ())):
        convolution = module.get_submodule(conv_name)
        while isinstance(convolution, nn.Sequential):  # the last of several convolutions
            convolution = convolution[-1]
        if isinstance(convolution, Conv):
            yield convolution, norm_name

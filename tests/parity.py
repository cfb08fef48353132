"""Comparison of a network with a peer's: random weights, training without batch statistics, detections, gradients."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from vertebra.backbones.layers import FrozenBatchNorm

N = TypeVar("N", bound=nn.Module)
LAYERS = (nn.Conv2d, nn.Conv3d, nn.Linear)
BATCH_NORMS = (nn.modules.batchnorm._BatchNorm, FrozenBatchNorm)


def randomize(
    network: N, gain: float = 2.0, bias: float = 0.2, norms: tuple[float, float] = (0.3, 0.8), seed: int = 0
) -> N:
    """Draw every weight and statistic of a network, which is set to evaluation: two swapped norms are seen.

    Args:
        network: whose norms are alike, as initialized.
        gain: of the convolutions and linear layers; 2 is right for a ReLU behind each.
        bias: standard deviation of all biases.
        norms: range of the weights of norms; below 1, or a deep sum of branches explodes.
        seed: of the numbers.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, LAYERS):
            module.weight.data.normal_(0, math.sqrt(gain / module.weight[0].numel()), generator=generator)
        elif isinstance(module, (*BATCH_NORMS, nn.GroupNorm, nn.LayerNorm)):
            module.weight.data.uniform_(*norms, generator=generator)
        else:
            continue
        if module.bias is not None:
            module.bias.data.normal_(0, bias, generator=generator)
        if isinstance(module, BATCH_NORMS):
            module.running_mean.normal_(0, 0.2, generator=generator)
            module.running_var.uniform_(0.6, 1.6, generator=generator)
    return network.eval()


def fix_statistics(*networks: nn.Module) -> None:
    """Set networks to training, except for batch norms, which go on to use their own statistics."""
    for network in networks:
        network.train()
        for module in network.modules():
            if isinstance(module, BATCH_NORMS):
                module.eval()


def numbered(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict in which each tensor has one value, its place, in tensors of the same shapes."""
    return {key: torch.full((), float(i)).expand(x.shape) for i, (key, x) in enumerate(state.items())}


def assert_same_detections(
    found: Sequence[Mapping[str, Tensor]],
    expected: Sequence[Mapping[str, Tensor]],
    least: int,
    boxes: float = 1e-3,
    scores: float = 1e-5,
) -> list[Tensor]:
    """Compare detections of several classes image by image, sorted by score, where ties may be in any order.

    Args:
        found: ours.
        expected: a peer's, which may include boxes of which clipping left nothing.
        least: more than so many are expected in each image.
        boxes: tolerance in pixels.
        scores: tolerance; what differs by no more is a tie, whose order rounding decides.

    Returns:
        Of each image, the places of our detections in the order of theirs (D,).
    """
    orders = []
    for ours, theirs in zip(found, expected, strict=True):
        sides = theirs["boxes"][:, 2:] - theirs["boxes"][:, :2]
        theirs = {name: x[(sides >= 1e-2).all(dim=1)] for name, x in theirs.items()}
        assert len(theirs["boxes"]) > least
        assert theirs["labels"].unique().numel() > 1
        assert (ours["scores"].diff() <= 0).all()
        distances = (ours["boxes"][:, None] - theirs["boxes"]).abs().amax(dim=2)  # (ours, theirs)
        order = distances.masked_fill(ours["labels"][:, None] != theirs["labels"], math.inf).argmin(dim=0)
        assert torch.equal(order.sort().values, torch.arange(len(ours["labels"])))
        assert torch.equal(ours["labels"][order], theirs["labels"])
        torch.testing.assert_close(ours["boxes"][order], theirs["boxes"], atol=boxes, rtol=0)
        torch.testing.assert_close(ours["scores"][order], theirs["scores"], atol=scores, rtol=0)
        orders.append(order)
    return orders


def assert_same_gradients(
    found: Mapping[str, Tensor], expected: Mapping[str, Tensor], layers: Iterable[tuple[nn.Module, nn.Module]]
) -> None:
    """Compare the gradients of the sum of some losses.

    Args:
        found: our losses.
        expected: a peer's.
        layers: pairs of ours and theirs, whose weights' gradients are compared.
    """
    sum(expected.values()).backward()
    sum(found.values()).backward()
    for ours, theirs in layers:
        scale = theirs.weight.grad.abs().max()
        assert scale > 0
        assert (ours.weight.grad - theirs.weight.grad).abs().max() < 1e-3 * scale

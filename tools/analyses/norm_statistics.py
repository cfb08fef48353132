"""Statistics of the batch norms of a network with random weights."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from vertebra.tools.analyses.blocks import body_of

Network = TypeVar("Network", bound=nn.Module)


def with_estimated_statistics(network: Network, images: Iterable[Tensor]) -> Network:
    """Estimate the running statistics of an untrained network's backbone, in place, and return the network.

    With their initial statistics, mean 0 and variance 1, batch norms in evaluation mode do not normalize, and the
    activations of an untrained residual network grow exponentially with depth. Statistics of the batch itself would
    make the samples of a batch depend on each other.

    Args:
        network: backbone with random weights, or a module that holds one.
        images: batches as the backbone receives them.

    Returns:
        The network, in evaluation mode.
    """
    update_bn(images, body_of(network))
    return network.eval()

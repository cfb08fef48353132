"""Weights of a whole network of a task: our own, and a peer's published ones as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, cast

from torch import Tensor, nn

from vertebra.backbones.weights import Weights, fill, network_state


class PeerNames(Protocol):
    """A network that renames the keys of its peers' state dicts."""

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a state dict of this network, or of a peer's, under this network's names."""


def load_weights(network: PeerNames, source: Weights) -> None:
    """Load the weights of a network, its last layer included: all of them or none.

    For other classes, load the backbone alone with `vertebra.backbones.load_weights(network.backbone, source)`, or give
    a checkpoint of `vertebra fit` as the network's `weights` argument.

    Args:
        network: the network to fill.
        source: a path (.pth, .safetensors, or a checkpoint of `vertebra fit`), or a state dict; of this network, or of
            the peers' networks that its class names.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: keys are missing, unexpected or of another shape; all are named.
    """
    state, origin = network_state(source)
    fill(cast(nn.Module, network), network.own_names(state), origin)

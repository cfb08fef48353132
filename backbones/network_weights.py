"""Weights of a whole network of a task: our own, and a peer's published ones as they are."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Protocol, cast

from torch import Tensor, nn

from vertebra.backbones.warm_start import class_prefixes, summary
from vertebra.backbones.weights import Weights, fill, network_state

_log = logging.getLogger(__name__)


class PeerNames(Protocol):
    """A network that renames the keys of its peers' state dicts."""

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a state dict of this network, or of a peer's, under this network's names."""


def load_weights(network: PeerNames, source: Weights) -> None:
    """Load the weights of a network: all of them or none.

    Only layers whose size depends on the number of classes may be of another shape. They keep their initial values, and
    a warning names them.

    Args:
        network: the network to fill.
        source: a path (.pth, .safetensors, or a checkpoint of `vertebra fit`), or a state dict; of this network, or of
            the peers' networks that its class names.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: keys are missing, unexpected or of another shape; all are named.
    """
    state, origin = network_state(source)
    module, state = cast(nn.Module, network), network.own_names(state)
    own, by_class = module.state_dict(), class_prefixes(module)
    new = [key for key in own if key.startswith(by_class) and key in state and state[key].shape != own[key].shape]
    fill(module, state | {key: own[key] for key in new}, origin)
    if new:
        layers = list(dict.fromkeys(key.rpartition(".")[0] for key in new))
        _log.warning("%s", summary(origin, len(own) - len(new), len(own), layers, []))

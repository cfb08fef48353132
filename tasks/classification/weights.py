"""Weights for classifiers: our own, and torchvision's and timm's published ones as they are."""

from __future__ import annotations

import re

from torch import Tensor, nn

from vertebra.backbones.conventions import own_names
from vertebra.backbones.weights import Weights, fill, network_state

# what publishers call the linear layer; timm's pre-activation networks have it as a 1x1 convolution
_HEAD = re.compile(r"(?:fc|classifier|linear|head|head\.fc)\.(weight|bias)")


def load_weights(classifier: nn.Module, source: Weights) -> None:
    """Load a classifier's weights, its last layer included, all of them or none.

    Args:
        classifier: the network to fill.
        source: a path (.pth, .safetensors, or a checkpoint of this package), or a state dict; of this package's
            classifier, or of torchvision's or timm's network of the same name.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: keys are missing, unexpected or of another shape; all are named.
    """
    state, origin = network_state(source)
    if not any(key.startswith("backbone.") for key in state):
        state = dict(_placed(key, value) for key, value in own_names(state).items())
    fill(classifier, state, origin)


def _placed(key: str, value: Tensor) -> tuple[str, Tensor]:
    """Return a publisher's key and value as our classifier has them."""
    if match := _HEAD.fullmatch(key):
        return f"head.fc.{match[1]}", value.flatten(1) if match[1] == "weight" else value
    return f"backbone.{key}", value

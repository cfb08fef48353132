"""Weights for video classifiers: our own, and torchvision's and pytorchvideo's published ones as they are."""

from __future__ import annotations

from torch import nn

from vertebra.backbones.conventions import own_names
from vertebra.backbones.weights import Weights, fill, network_state


def load_weights(classifier: nn.Module, source: Weights) -> None:
    """Load a classifier's weights, its last layer included, all of them or none.

    For another number of classes load them into `classifier.backbone` with `vertebra.backbones.load_weights`.

    Args:
        classifier: the network to fill.
        source: a path (.pth, .safetensors, or a checkpoint of this package), or a state dict; of this package's
            classifier, or of torchvision's or pytorchvideo's network of the same name.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: keys are missing, unexpected or of another shape; all are named.
    """
    state, origin = network_state(source)
    if not any(key.startswith("backbone.") for key in state):
        state = {_place(key): value for key, value in own_names(state).items()}
    fill(classifier, state, origin)


def _place(key: str) -> str:
    """Return where a key of a published network, with its parts under our names, stands in a classifier."""
    if key.startswith("fc."):  # torchvision's head
        return f"head.{key}"
    return key if key.startswith("head.") else f"backbone.{key}"

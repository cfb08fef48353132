"""Weights for detectors: our own, and torchvision's published ones as they are."""

from __future__ import annotations

import re

from torch import nn

from vertebra.backbones.weights import Weights, fill, network_state

# torchvision's key, ours; the later ones are how it named things before 0.13, as its published COCO file does.
_RENAMES = (
    (r"^backbone\.body\.", "backbone."),
    (r"^backbone\.fpn\.", "neck."),
    (r"^(neck\.(?:inner|layer)_blocks\.\d+)\.(weight|bias)$", r"\1.0.\2"),
    (r"^rpn\.head\.conv\.(weight|bias)$", r"rpn.head.conv.0.0.\1"),
)


def load_weights(detector: nn.Module, source: Weights) -> None:
    """Load a detector's weights, all of them or none.

    Args:
        detector: the network to fill.
        source: a path (.pth, .safetensors, or a checkpoint of this package), or a state dict; of this package's
            detector or of torchvision's `fasterrcnn_resnet50_fpn`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: keys are missing, unexpected or of another shape; all are named.
    """
    state, origin = network_state(source)
    fill(detector, {_rename(key): value for key, value in state.items()}, origin)


def _rename(key: str) -> str:
    for pattern, replacement in _RENAMES:
        key = re.sub(pattern, replacement, key)
    return key

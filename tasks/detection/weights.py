"""Weights for detectors: our own, and torchvision's published ones as they are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from os import PathLike

from torch import Tensor, nn

from backbones.weights import fill, read_state_dict

# torchvision's key, ours; the later ones are how it named things before 0.13, as its published COCO file does.
_RENAMES = (
    (r"^backbone\.body\.", "backbone."),
    (r"^backbone\.fpn\.", "neck."),
    (r"^(neck\.(?:inner|layer)_blocks\.\d+)\.(weight|bias)$", r"\1.0.\2"),
    (r"^rpn\.head\.conv\.(weight|bias)$", r"rpn.head.conv.0.0.\1"),
)


def load_weights(detector: nn.Module, source: str | PathLike[str] | Mapping[str, Tensor]) -> None:
    """Load a detector's weights, all of them or none.

    Args:
        detector: the network to fill.
        source: a path (.pth, .safetensors, or a checkpoint of this package), or a state dict; of this package's
            detector or of torchvision's `fasterrcnn_resnet50_fpn`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: keys are missing, unexpected or of another shape; all are named.
    """
    is_state = isinstance(source, Mapping)
    state = dict(source) if is_state else read_state_dict(source)  # type: ignore[arg-type]
    fill(detector, {_rename(key): value for key, value in state.items()}, "the state dict" if is_state else str(source))


def _rename(key: str) -> str:
    key = key.removeprefix("network.")  # of a training checkpoint
    for pattern, replacement in _RENAMES:
        key = re.sub(pattern, replacement, key)
    return key

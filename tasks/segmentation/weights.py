"""Weights for segmenters: our own, and torchvision's published ones as they are."""

from __future__ import annotations

import re

from vertebra.backbones.weights import Weights, fill, network_state
from vertebra.tasks.segmentation.deeplab import DeepLabV3
from vertebra.tasks.segmentation.segmenter import Segmenter

# torchvision's key, ours
_DEEPLAB = (
    (r"^classifier\.0\.", "decoder.aspp."),
    (r"^classifier\.([12])\.", lambda found: f"decoder.fuse.{int(found[1]) - 1}."),
    (r"^classifier\.4\.", "head.conv."),
)
_FCN = (
    (r"^classifier\.([01])\.", r"decoder.fuse.\1."),
    (r"^classifier\.4\.", "head.conv."),
)
_AUX = (
    (r"^aux_classifier\.([01])\.", r"aux.0.fuse.\1."),
    (r"^aux_classifier\.4\.", "aux.1.conv."),
)


def load_weights(segmenter: Segmenter, source: Weights) -> None:
    """Load a segmenter's weights, all of them or none.

    Args:
        segmenter: the network to fill.
        source: a path (.pth, .safetensors, or a checkpoint of this package), or a state dict; of this package's
            segmenter, or of torchvision's `deeplabv3_resnet*` or `fcn_resnet*`. What their auxiliary head has is left
            out where the segmenter has none.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: keys are missing, unexpected or of another shape; all are named.
    """
    state, origin = network_state(source)
    renames = (*(_DEEPLAB if isinstance(segmenter.decoder, DeepLabV3) else _FCN), *_AUX)
    state = {_rename(key, renames): value for key, value in state.items()}
    if segmenter.aux is None:
        state = {key: value for key, value in state.items() if not key.startswith("aux.")}
    fill(segmenter, state, origin)


def _rename(key: str, renames) -> str:  # type: ignore[no-untyped-def]
    for pattern, replacement in renames:
        key = re.sub(pattern, replacement, key)
    return key

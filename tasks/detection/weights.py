"""Weights for detectors: our own, and torchvision's published ones as they are."""

from __future__ import annotations

from vertebra.backbones.weights import Weights, fill, network_state
from vertebra.tasks.detection.detector import Detector


def load_weights(detector: Detector, source: Weights) -> None:
    """Load a detector's weights, all of them or none.

    Args:
        detector: the network to fill.
        source: a path (.pth, .safetensors, or a checkpoint of this package), or a state dict; of this package's
            detector or of torchvision's of the same architecture, see `Detector.own_names`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: keys are missing, unexpected or of another shape; all are named.
    """
    state, origin = network_state(source)
    fill(detector, detector.own_names(state), origin)

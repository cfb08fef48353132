"""Weights for medical classifiers: our own, and MedicalNet's, MONAI's and torchvision's as they are."""

from __future__ import annotations

from vertebra.backbones.conventions import own_names
from vertebra.backbones.weights import Weights, fill, network_state
from vertebra.tasks.medical.image_network import MedicalClassifier
from vertebra.tasks.medical.study_network import StudyClassifier

SEGMENTER = ("conv_seg.",)  # the decoder of Med3D's network, for which there is no place here


def load_weights(classifier: MedicalClassifier | StudyClassifier, source: Weights) -> None:
    """Load a classifier's weights, its last layer included, or those of a network without one, all of them or none.

    A checkpoint without a last layer, such as MedicalNet's, fills the backbone; head and pooling stay as they are. One
    for other classes, or with three colors, loads into `classifier.backbone` with `vertebra.backbones.load_weights`.

    Args:
        classifier: the network to fill.
        source: a path (.pth, .safetensors, or a checkpoint of this package), or a state dict; of this package's
            classifier, or of MedicalNet's, MONAI's or torchvision's network of the same name.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: keys are missing, unexpected or of another shape; all are named.
    """
    state, origin = network_state(source)
    if any(key.startswith("backbone.") for key in state):
        fill(classifier, state, origin)
        return
    state = own_names(state)
    if any(key.startswith("fc.") for key in state):
        fill(classifier, {f"head.{k}" if k.startswith("fc.") else f"backbone.{k}": v for k, v in state.items()}, origin)
    else:
        fill(classifier.backbone, state, origin, ignore=SEGMENTER)

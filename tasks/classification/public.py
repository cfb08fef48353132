"""Public names of vertebra.tasks.classification."""

from vertebra.backbones.network_weights import load_weights
from vertebra.tasks.classification.classifier import ImageClassifier, image_classifier
from vertebra.tasks.classification.data import ClassificationData
from vertebra.tasks.classification.module import ClassificationModule
from vertebra.tasks.classification.transforms import Resize
from vertebra.tasks.training.linear_head import LinearHead
from vertebra.tasks.training.mixing import Mixing
from vertebra.tasks.training.normalize import Normalize
from vertebra.tasks.training.views import Views

__all__ = [
    "ClassificationData",
    "ClassificationModule",
    "ImageClassifier",
    "LinearHead",
    "Mixing",
    "Normalize",
    "Resize",
    "Views",
    "image_classifier",
    "load_weights",
]

"""Image classification."""

from tasks.classification.classifier import ImageClassifier, image_classifier
from tasks.classification.data import ClassificationData
from tasks.classification.module import ClassificationModule
from tasks.classification.transforms import Resize
from tasks.classification.views import Views
from tasks.classification.weights import load_weights
from tasks.linear_head import LinearHead
from tasks.mixing import Mixing

__all__ = [
    "ClassificationData",
    "ClassificationModule",
    "ImageClassifier",
    "LinearHead",
    "Mixing",
    "Resize",
    "Views",
    "image_classifier",
    "load_weights",
]

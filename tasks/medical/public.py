"""Public names of vertebra.tasks.medical."""

from vertebra.backbones.network_weights import load_weights
from vertebra.tasks.medical.data import MedicalData
from vertebra.tasks.medical.image_network import MedicalClassifier, medical_classifier
from vertebra.tasks.medical.module import MedicalModule
from vertebra.tasks.medical.study_network import (
    SliceClassifier,
    StudyClassifier,
    slice_classifier,
    study_classifier,
)
from vertebra.tasks.training.views import Views

__all__ = [
    "MedicalClassifier",
    "MedicalData",
    "MedicalModule",
    "SliceClassifier",
    "StudyClassifier",
    "Views",
    "load_weights",
    "medical_classifier",
    "slice_classifier",
    "study_classifier",
]

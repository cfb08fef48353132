"""Classification of medical images, volumes and studies."""

from vertebra.tasks.medical.classifier import medical_classifier, slice_classifier, study_classifier
from vertebra.tasks.medical.data import MedicalData
from vertebra.tasks.medical.module import MedicalModule
from vertebra.tasks.medical.weights import load_weights

__all__ = [
    "MedicalData",
    "MedicalModule",
    "load_weights",
    "medical_classifier",
    "slice_classifier",
    "study_classifier",
]

"""Classification of medical images, volumes and studies."""

from tasks.medical.classifier import medical_classifier, slice_classifier, study_classifier
from tasks.medical.data import MedicalData
from tasks.medical.module import MedicalModule
from tasks.medical.weights import load_weights

__all__ = [
    "MedicalData",
    "MedicalModule",
    "load_weights",
    "medical_classifier",
    "slice_classifier",
    "study_classifier",
]

"""The assembling functions as types, so that a configuration file can name them and set their arguments."""

from __future__ import annotations

from jsonargparse import class_from_function

from vertebra.tasks.medical import classifier

MedicalClassifier = class_from_function(classifier.medical_classifier, name="MedicalClassifier")
SliceClassifier = class_from_function(classifier.slice_classifier, name="SliceClassifier")
StudyClassifier = class_from_function(classifier.study_classifier, name="StudyClassifier")

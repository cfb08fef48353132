"""The assembling functions as types, so that a configuration file can name them and set their arguments."""

from __future__ import annotations

from jsonargparse import class_from_function

from vertebra.tasks.classification.classifier import image_classifier

ImageClassifier = class_from_function(image_classifier, name="ImageClassifier")

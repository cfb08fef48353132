"""The assembling functions as types, so that a configuration file can name them and set their arguments."""

from __future__ import annotations

from jsonargparse import class_from_function

from vertebra.tasks.video import classifier

VideoClassifier = class_from_function(classifier.video_classifier, name="VideoClassifier")
FrameClassifier = class_from_function(classifier.frame_classifier, name="FrameClassifier")

"""Video classification."""

from vertebra.tasks.video.classifier import VideoClassifier, frame_classifier, video_classifier
from vertebra.tasks.video.data import VideoData
from vertebra.tasks.video.module import VideoModule
from vertebra.tasks.video.weights import load_weights

__all__ = [
    "VideoClassifier",
    "VideoData",
    "VideoModule",
    "frame_classifier",
    "load_weights",
    "video_classifier",
]

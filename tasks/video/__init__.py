"""Video classification."""

from tasks.video.classifier import VideoClassifier, frame_classifier, video_classifier
from tasks.video.data import VideoData
from tasks.video.module import VideoModule
from tasks.video.weights import load_weights

__all__ = [
    "VideoClassifier",
    "VideoData",
    "VideoModule",
    "frame_classifier",
    "load_weights",
    "video_classifier",
]

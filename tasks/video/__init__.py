"""Video classification."""

from tasks.video.classifier import VideoClassifier, video_classifier
from tasks.video.weights import load_weights

__all__ = ["VideoClassifier", "load_weights", "video_classifier"]

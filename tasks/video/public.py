"""Public names of vertebra.tasks.video."""

from vertebra.backbones.network_weights import load_weights
from vertebra.tasks.training.normalize import Normalize
from vertebra.tasks.training.views import Views
from vertebra.tasks.video.classifier import FrameClassifier, VideoClassifier, frame_classifier, video_classifier
from vertebra.tasks.video.data import VideoData
from vertebra.tasks.video.module import VideoModule

__all__ = [
    "FrameClassifier",
    "Normalize",
    "VideoClassifier",
    "VideoData",
    "VideoModule",
    "Views",
    "frame_classifier",
    "load_weights",
    "video_classifier",
]

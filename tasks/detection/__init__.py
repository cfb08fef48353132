"""Object detection."""

from tasks.detection.anchors import AnchorGenerator
from tasks.detection.data import DetectionData, Split
from tasks.detection.faster_rcnn import FasterRCNN, faster_rcnn
from tasks.detection.module import DetectionModule
from tasks.detection.roi_heads import DetectionSelection
from tasks.detection.rpn import ProposalSelection
from tasks.detection.weights import load_weights

__all__ = [
    "AnchorGenerator",
    "DetectionData",
    "DetectionModule",
    "DetectionSelection",
    "FasterRCNN",
    "ProposalSelection",
    "Split",
    "faster_rcnn",
    "load_weights",
]

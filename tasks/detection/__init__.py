"""Object detection."""

from vertebra.backbones.network_weights import load_weights
from vertebra.tasks.detection.anchors import AnchorGenerator
from vertebra.tasks.detection.data import DetectionData, Split
from vertebra.tasks.detection.detector import Detector
from vertebra.tasks.detection.faster_rcnn import FasterRCNN, faster_rcnn
from vertebra.tasks.detection.fcos import FCOS, fcos
from vertebra.tasks.detection.module import DetectionModule
from vertebra.tasks.detection.retinanet import RetinaNet, retinanet
from vertebra.tasks.detection.rpn import ProposalSelection
from vertebra.tasks.detection.rtdetr import RTDETR, QueryDetections, TransformerSize, rt_detr
from vertebra.tasks.detection.selection import DenseSelection, DetectionSelection

__all__ = [
    "FCOS",
    "RTDETR",
    "AnchorGenerator",
    "DenseSelection",
    "DetectionData",
    "DetectionModule",
    "DetectionSelection",
    "Detector",
    "FasterRCNN",
    "ProposalSelection",
    "QueryDetections",
    "RetinaNet",
    "Split",
    "TransformerSize",
    "faster_rcnn",
    "fcos",
    "load_weights",
    "retinanet",
    "rt_detr",
]

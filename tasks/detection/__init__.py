"""Object detection."""

from vertebra.backbones.network_weights import load_weights
from vertebra.tasks.detection.anchors import AnchorGenerator
from vertebra.tasks.detection.assigners import Assigner, CenterAssigner, IoUAssigner, MultiBoxAssigner
from vertebra.tasks.detection.atss import ATSS
from vertebra.tasks.detection.box_branch import BoxBranch, BoxPredictor, ConvHead, MLPHead
from vertebra.tasks.detection.box_coder import BoxCoder, DistanceCoder
from vertebra.tasks.detection.cascade_heads import CascadeHeads
from vertebra.tasks.detection.cascade_rcnn import CascadeRCNN, cascade_rcnn
from vertebra.tasks.detection.data import DetectionData, Split
from vertebra.tasks.detection.detector import Detector
from vertebra.tasks.detection.faster_rcnn import FasterRCNN, faster_rcnn
from vertebra.tasks.detection.fcos import FCOS, fcos
from vertebra.tasks.detection.losses import BoxLoss, GIoU, SmoothL1
from vertebra.tasks.detection.mask_branch import MaskBranch, MaskHead, MaskPredictor
from vertebra.tasks.detection.mask_rcnn import MaskRCNN, mask_rcnn
from vertebra.tasks.detection.masks import MaskBatch, pack_masks, paste_crops, paste_masks, sample_masks
from vertebra.tasks.detection.module import DetectionModule
from vertebra.tasks.detection.retinanet import RetinaNet, retinanet
from vertebra.tasks.detection.roi_align import RoIAlign
from vertebra.tasks.detection.roi_heads import RoIBranch, RoIHeads
from vertebra.tasks.detection.rpn import ProposalSelection, RegionProposalNetwork, RPNHead
from vertebra.tasks.detection.rtdetr import RTDETR, QueryDetections, TransformerSize, rt_detr
from vertebra.tasks.detection.sampling import BalancedSampler
from vertebra.tasks.detection.selection import DenseSelection, DetectionSelection, select_dense, select_detections
from vertebra.tasks.detection.ssd import SSD, PerClassSelection, SSDLayout, ssd, ssd300, ssd512, ssdlite320
from vertebra.tasks.detection.yolox import YOLOX, SimOTA, yolox
from vertebra.tasks.training.normalize import Normalize

__all__ = [
    "ATSS",
    "FCOS",
    "RTDETR",
    "SSD",
    "YOLOX",
    "AnchorGenerator",
    "Assigner",
    "BalancedSampler",
    "BoxBranch",
    "BoxCoder",
    "BoxLoss",
    "BoxPredictor",
    "CascadeHeads",
    "CascadeRCNN",
    "CenterAssigner",
    "ConvHead",
    "DenseSelection",
    "DetectionData",
    "DetectionModule",
    "DetectionSelection",
    "Detector",
    "DistanceCoder",
    "FasterRCNN",
    "GIoU",
    "IoUAssigner",
    "MLPHead",
    "MaskBatch",
    "MaskBranch",
    "MaskHead",
    "MaskPredictor",
    "MaskRCNN",
    "MultiBoxAssigner",
    "Normalize",
    "PerClassSelection",
    "ProposalSelection",
    "QueryDetections",
    "RPNHead",
    "RegionProposalNetwork",
    "RetinaNet",
    "RoIAlign",
    "RoIBranch",
    "RoIHeads",
    "SSDLayout",
    "SimOTA",
    "SmoothL1",
    "Split",
    "TransformerSize",
    "cascade_rcnn",
    "faster_rcnn",
    "fcos",
    "load_weights",
    "mask_rcnn",
    "pack_masks",
    "paste_crops",
    "paste_masks",
    "retinanet",
    "rt_detr",
    "sample_masks",
    "select_dense",
    "select_detections",
    "ssd",
    "ssd300",
    "ssd512",
    "ssdlite320",
    "yolox",
]

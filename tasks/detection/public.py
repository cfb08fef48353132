"""Public names of vertebra.tasks.detection."""

from vertebra.backbones.network_weights import load_weights
from vertebra.tasks.detection.combining.copy_paste import CopyPaste
from vertebra.tasks.detection.combining.large_scale_jitter import LargeScaleJitter
from vertebra.tasks.detection.combining.mixup import MixUp
from vertebra.tasks.detection.combining.mosaic import Mosaic
from vertebra.tasks.detection.data import DetectionData, Split
from vertebra.tasks.detection.module import DetectionModule
from vertebra.tasks.detection.networks.cascade_rcnn import CascadeRCNN, cascade_rcnn
from vertebra.tasks.detection.networks.detector import Detector
from vertebra.tasks.detection.networks.faster_rcnn import FasterRCNN, faster_rcnn
from vertebra.tasks.detection.networks.fcos import FCOS, fcos
from vertebra.tasks.detection.networks.mask_rcnn import MaskRCNN, mask_rcnn
from vertebra.tasks.detection.networks.retinanet import RetinaNet, retinanet
from vertebra.tasks.detection.networks.rtdetr import RTDETR, QueryDetections, TransformerSize, rt_detr
from vertebra.tasks.detection.networks.ssd import SSD, PerClassSelection, SSDLayout, ssd, ssd300, ssd512, ssdlite320
from vertebra.tasks.detection.networks.yolox import YOLOX, SimOTA, yolox
from vertebra.tasks.detection.parts.anchors import AnchorGenerator
from vertebra.tasks.detection.parts.assigners import Assigner, CenterAssigner, IoUAssigner, MultiBoxAssigner
from vertebra.tasks.detection.parts.atss import ATSS
from vertebra.tasks.detection.parts.box_branch import BoxBranch, BoxPredictor, ConvHead, MLPHead
from vertebra.tasks.detection.parts.box_coder import BoxCoder, DistanceCoder
from vertebra.tasks.detection.parts.cascade_heads import CascadeHeads
from vertebra.tasks.detection.parts.losses import BoxLoss, GIoU, SmoothL1
from vertebra.tasks.detection.parts.mask_branch import MaskBranch, MaskHead, MaskPredictor
from vertebra.tasks.detection.parts.masks import MaskBatch, pack_masks, paste_crops, paste_masks, sample_masks
from vertebra.tasks.detection.parts.roi_align import RoIAlign
from vertebra.tasks.detection.parts.roi_heads import RoIBranch, RoIHeads
from vertebra.tasks.detection.parts.rpn import ProposalSelection, RegionProposalNetwork, RPNHead
from vertebra.tasks.detection.parts.sampling import BalancedSampler
from vertebra.tasks.detection.parts.selection import DenseSelection, DetectionSelection, select_dense, select_detections
from vertebra.tasks.detection.parts.soft_nms import SoftNMS
from vertebra.tasks.detection.tiles import Tiles
from vertebra.tasks.detection.views import Views
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
    "CopyPaste",
    "DenseSelection",
    "DetectionData",
    "DetectionModule",
    "DetectionSelection",
    "Detector",
    "DistanceCoder",
    "FasterRCNN",
    "GIoU",
    "IoUAssigner",
    "LargeScaleJitter",
    "MLPHead",
    "MaskBatch",
    "MaskBranch",
    "MaskHead",
    "MaskPredictor",
    "MaskRCNN",
    "MixUp",
    "Mosaic",
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
    "SoftNMS",
    "Split",
    "Tiles",
    "TransformerSize",
    "Views",
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

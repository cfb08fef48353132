"""RT-DETR: a query-based detector without non-maximum suppression.

DETRs Beat YOLOs on Real-time Object Detection, Zhao et al. 2023, https://arxiv.org/abs/2304.08069
"""

from vertebra.tasks.detection.networks.rtdetr.rt_detr import RTDETR, QueryDetections, TransformerSize, rt_detr

__all__ = ["RTDETR", "QueryDetections", "TransformerSize", "rt_detr"]

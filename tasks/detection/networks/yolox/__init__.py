"""YOLOX: Exceeding YOLO Series in 2021, Ge et al. 2021, https://arxiv.org/abs/2107.08430."""

from vertebra.tasks.detection.networks.yolox.sim_ota import SimOTA
from vertebra.tasks.detection.networks.yolox.yolox import YOLOX, yolox

__all__ = ["YOLOX", "SimOTA", "yolox"]

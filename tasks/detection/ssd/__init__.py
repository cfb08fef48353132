"""SSD: Single Shot MultiBox Detector, Liu et al. 2016, https://arxiv.org/abs/1512.02325."""

from vertebra.tasks.detection.default_boxes import DefaultBoxes
from vertebra.tasks.detection.ssd.layout import SSDLayout
from vertebra.tasks.detection.ssd.selection import PerClassSelection
from vertebra.tasks.detection.ssd.ssd import SSD, ssd, ssd300, ssd512, ssdlite320

__all__ = ["SSD", "DefaultBoxes", "PerClassSelection", "SSDLayout", "ssd", "ssd300", "ssd512", "ssdlite320"]

"""SSD: Single Shot MultiBox Detector, Liu et al. 2016, https://arxiv.org/abs/1512.02325."""

from vertebra.tasks.detection.networks.ssd.layout import SSDLayout
from vertebra.tasks.detection.networks.ssd.selection import PerClassSelection
from vertebra.tasks.detection.networks.ssd.ssd import SSD, ssd, ssd300, ssd512, ssdlite320
from vertebra.tasks.detection.parts.default_boxes import DefaultBoxes

__all__ = ["SSD", "DefaultBoxes", "PerClassSelection", "SSDLayout", "ssd", "ssd300", "ssd512", "ssdlite320"]

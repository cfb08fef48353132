"""The assembling functions as types, so that a configuration file can name them and set their arguments."""

from __future__ import annotations

from jsonargparse import class_from_function

from vertebra.tasks.detection.faster_rcnn import faster_rcnn
from vertebra.tasks.detection.fcos import fcos
from vertebra.tasks.detection.retinanet import retinanet

FasterRCNN = class_from_function(faster_rcnn, name="FasterRCNN")
FCOS = class_from_function(fcos, name="FCOS")
RetinaNet = class_from_function(retinanet, name="RetinaNet")

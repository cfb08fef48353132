"""The assembling functions as types, so that a configuration file can name them and set their arguments."""

from __future__ import annotations

from jsonargparse import class_from_function

from vertebra.tasks.segmentation import architectures

DeepLabV3 = class_from_function(architectures.deeplabv3, name="DeepLabV3")
DeepLabV3Plus = class_from_function(architectures.deeplabv3plus, name="DeepLabV3Plus")
FCN = class_from_function(architectures.fcn, name="FCN")
FCNScores = class_from_function(architectures.fcn_scores, name="FCNScores")
PSPNet = class_from_function(architectures.pspnet, name="PSPNet")
SemanticFPN = class_from_function(architectures.semantic_fpn, name="SemanticFPN")
UNet = class_from_function(architectures.unet, name="UNet")
UPerNet = class_from_function(architectures.upernet, name="UPerNet")

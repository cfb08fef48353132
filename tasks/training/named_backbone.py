"""A backbone by name with options, as a type, so that a configuration file or a flag can set each of them.

Where a network takes a backbone by its bare name, this takes the rest, too: for instance
`--model.network.backbone vertebra.tasks.training.named_backbone.NamedBackbone --model.network.backbone.name resnet50
--model.network.backbone.checkpointing true`.

`MomentumResNet` and `ODENet` do the same for the momentum and the solver of these networks.
"""

from __future__ import annotations

from jsonargparse import class_from_function

from vertebra.backbones import create_backbone
from vertebra.backbones.momentum_resnet import momentum_resnet
from vertebra.backbones.odenet import odenet

NamedBackbone = class_from_function(create_backbone, name="NamedBackbone")
MomentumResNet = class_from_function(momentum_resnet, name="MomentumResNet")
ODENet = class_from_function(odenet, name="ODENet")

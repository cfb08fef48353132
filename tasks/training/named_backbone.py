"""A backbone by name with options, as a type, so that a configuration file or a flag can set each of them.

Where a network takes a backbone by its bare name, this takes the rest, too: for instance
`--model.network.backbone vertebra.tasks.training.named_backbone.NamedBackbone --model.network.backbone.name resnet50
--model.network.backbone.checkpointing true`.
"""

from __future__ import annotations

from jsonargparse import class_from_function

from vertebra.backbones import create_backbone

NamedBackbone = class_from_function(create_backbone, name="NamedBackbone")

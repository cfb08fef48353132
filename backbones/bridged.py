"""Networks built by timm: `timm:<name>` for any of them, and DenseNets under their own names.

Densely Connected Convolutional Networks, Huang et al. 2016, https://arxiv.org/abs/1608.06993
"""

from __future__ import annotations

from functools import partial

from vertebra.backbones.backbone import BackboneOptions
from vertebra.backbones.registry import register, register_prefix
from vertebra.backbones.timm_bridge import TimmBackbone


@register_prefix("timm")
def timm_backbone(name: str, options: BackboneOptions) -> TimmBackbone:
    """Any timm network that returns feature maps."""
    return TimmBackbone(name, options)


for name in ("densenet121", "densenet161", "densenet169", "densenet201"):
    register(partial(TimmBackbone, name), name)

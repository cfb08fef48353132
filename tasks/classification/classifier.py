"""Image classifier: a backbone, global average pooling, and a linear layer."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor, nn

from vertebra.backbones import Backbone
from vertebra.backbones.conventions import own_names
from vertebra.backbones.layers import Norm
from vertebra.backbones.resolve import resolve_backbone
from vertebra.backbones.warm_start import warm_start
from vertebra.tasks.training.linear_head import LinearHead

# names of the linear layer at torchvision and timm, whose pre-activation networks have it as a 1x1 convolution
_HEAD = re.compile(r"(?:fc|classifier|linear|head|head\.fc)\.(weight|bias)")


class ImageClassifier(nn.Module):
    """Image classifier; with `resnet50` it is torchvision's and timm's `resnet50`.

    Args:
        backbone: a registered name, or a 2-D backbone with any options.
        num_classes: K, the number of classes.
        in_channels: of a named backbone: channels of the images, 3 if not given; `weights` are adapted to them.
        weights: of a named backbone: a path, or `pretrained`. A checkpoint of `vertebra fit` fills all of the network
            that fits, see `vertebra.backbones.warm_start`.
        norm: of a named backbone: `batch` (if not given), `frozen`, `sync` or `group`.
        drop_rate: dropout before the linear layer, in 0..1.
        drop_path_rate: of a named backbone: stochastic depth at its last block, 0 if not given.
        linear_probe: train the linear layer alone: the backbone is frozen, running statistics of its norms included.

    Shape:
        - images: (N, in_channels, H, W) float, already normalized
        - output: (N, K) logits; labels are 0..K-1

    Attributes:
        class_layers: layers whose size depends on the number of classes; see `vertebra.backbones.warm_start`.

    Raises:
        ValueError: an option of a named backbone beside a built one, a 3-D backbone, or a number out of its range.
        FileNotFoundError: there are no such weights.
    """

    class_layers = ("head",)

    def __init__(
        self,
        backbone: str | Backbone,
        num_classes: int,
        *,
        in_channels: int | None = None,
        weights: str | None = None,
        norm: Norm | None = None,
        drop_rate: float = 0.0,
        drop_path_rate: float | None = None,
        linear_probe: bool = False,
    ) -> None:
        super().__init__()
        body = resolve_backbone(
            backbone, in_channels=in_channels, weights=weights, norm=norm, drop_path_rate=drop_path_rate
        )
        level = body.levels[-1]
        if not isinstance(level.reduction, int):
            raise ValueError(
                f"the backbone reduces {len(level.reduction)} axes (level {level.name}: {level.reduction}), but an "
                "image has height and width; take a 2-D backbone."
            )
        body.trim_for_classifier()
        if linear_probe:
            body.freeze(*(name for name, _ in body.named_children()))
        self.backbone = body
        self.head = LinearHead(level.channels, num_classes, drop_rate)
        # last, since a checkpoint of this library also has weights for the head
        warm_start(self, weights)

    def embed(self, images: Tensor) -> Tensor:
        """Return the features before the head, (N, C): the mean of the coarsest map, or a Transformer's class token."""
        return self.backbone.embed(images)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.embed(images))

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a state dict under this network's names; torchvision's and timm's classifiers load as they are."""
        if any(key.startswith("backbone.") for key in state):
            return dict(state)
        return dict(_own_entry(key, value) for key, value in own_names(state).items())


# the lower-case name reads like torchvision's and timm's constructors
image_classifier = ImageClassifier


def _own_entry(key: str, value: Tensor) -> tuple[str, Tensor]:
    """Return the key and the value of a peer's classifier as they are in ours."""
    # flattened: the weight of a 1x1 convolution is (K, C, 1, 1)
    if match := _HEAD.fullmatch(key):
        return f"head.fc.{match[1]}", value.flatten(1) if match[1] == "weight" else value
    return f"backbone.{key}", value

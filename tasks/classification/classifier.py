"""An image classifier: a backbone, the mean of its coarsest map, and a linear layer."""

from __future__ import annotations

from torch import Tensor, nn

from vertebra.backbones import Backbone, create_backbone
from vertebra.backbones.layers import Norm
from vertebra.backbones.warm_start import warm_start, without_checkpoint
from vertebra.tasks.training.linear_head import LinearHead


class ImageClassifier(nn.Module):
    """A backbone whose coarsest feature map is averaged over the image and classified.

    Args:
        backbone: images to feature maps.
        head: features to logits, (N, C) -> (N, K), where C is the channels of the backbone's last level.

    Shape:
        - images: (N, C, H, W) float, already normalized
        - output: (N, K) logits; label k is the k-th class, from 0 on

    Attributes:
        class_layers: layers whose size depends on the number of classes; see `vertebra.backbones.warm_start`.
    """

    class_layers = ("head",)

    def __init__(self, backbone: Backbone, head: nn.Module) -> None:
        super().__init__()
        level = backbone.levels[-1]
        if not isinstance(level.reduction, int):
            raise ValueError(
                f"the backbone reduces {len(level.reduction)} axes (level {level.name}: {level.reduction}), but an "
                "image has height and width; take a 2-D backbone."
            )
        self.backbone = backbone
        self.head = head

    def embed(self, images: Tensor) -> Tensor:
        """Return the features that the head sees, (N, C): the mean of the coarsest map."""
        return self.backbone(images)[self.backbone.levels[-1].name].mean(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.embed(images))


def image_classifier(
    backbone: str | Backbone,
    num_classes: int,
    *,
    in_channels: int = 3,
    weights: str | None = None,
    norm: Norm = "batch",
    drop_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    linear_probe: bool = False,
) -> ImageClassifier:
    """Assemble a classifier; with `resnet50` it is torchvision's and timm's `resnet50`.

    Args:
        backbone: a registered name, or a 2-D backbone with any options.
        num_classes: K, the things to tell apart.
        in_channels: for a backbone given by name: channels of the images; `weights` are adapted to them.
        weights: for a backbone given by name: a path, or `pretrained`. A checkpoint of `vertebra fit` fills all of the
            network that fits, see `vertebra.backbones.warm_start`.
        norm: for a backbone given by name: `batch`, `frozen`, `sync` or `group`.
        drop_rate: dropout in front of the linear layer.
        drop_path_rate: for a backbone given by name: stochastic depth at its last block.
        linear_probe: train the linear layer alone (a linear probe): the backbone is frozen, norms and all.
    """
    if isinstance(backbone, str):
        of_backbone = without_checkpoint(weights)
        backbone = create_backbone(
            backbone, in_channels=in_channels, norm=norm, drop_path_rate=drop_path_rate, weights=of_backbone
        )
    if linear_probe:
        backbone.freeze(*(name for name, _ in backbone.named_children()))
    head = LinearHead(backbone.levels[-1].channels, num_classes, drop_rate)
    return warm_start(ImageClassifier(backbone, head), weights)

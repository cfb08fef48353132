"""A classifier of images or of volumes as a whole, and what Grad-CAM asks of any classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from vertebra.backbones import Backbone


class Activations(NamedTuple):
    """What a classifier says, and what it says it by.

    Attributes:
        features: the backbone's maps of all M images that it looked at, dict of level to (M, C, H, W) or (M, C, D, H,
            W), fine to coarse; each is made of the one before, and the logits of the last.
        logits: (N, K).
    """

    features: Mapping[str, Tensor]
    logits: Tensor


class MedicalClassifier(nn.Module):
    """A backbone whose coarsest map is averaged over the image or the volume and classified.

    Args:
        backbone: images or volumes to feature maps.
        head: (N, C) -> (N, K), where C is the channels of the backbone's last level.

    Shape:
        - images: (N, in_channels, H, W), or (N, in_channels, D, H, W) with a 3-D backbone, float, already scaled
        - counts: not looked at; studies have one image
        - output: (N, K) logits

    Attributes:
        class_layers: layers whose size depends on the number of classes; see `vertebra.backbones.warm_start`.
    """

    class_layers = ("head",)

    def __init__(self, backbone: Backbone, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, images: Tensor, counts: Sequence[int] | None = None) -> Tensor:
        return self.forward_features(images, counts).logits

    def forward_features(self, images: Tensor, counts: Sequence[int] | None = None) -> Activations:
        """Return the logits and the maps that they come from; M is N."""
        check_axes(images, self.backbone, several=False)
        features = self.backbone(images)
        return Activations(features, self.head(means(features)))

    def placed(self, maps: Tensor, images: Tensor, counts: Sequence[int] | None = None) -> Tensor:
        """Return maps (M, ...) of the images that were looked at in the order of `images`; here they are."""
        return maps


def check_axes(images: Tensor, backbone: Backbone, several: bool) -> None:
    """Refuse images of another number of axes than the backbone takes, with one more where studies have several."""
    flat = isinstance(backbone.levels[-1].reduction, int)
    axes = ["N", *(["I"] if several else []), "C", *([] if flat else ["D"]), "H", "W"]
    if images.dim() != len(axes):
        kind = "images" if flat else "volumes"
        raise ValueError(
            f"images are {tuple(images.shape)}, but this network takes {kind}, ({', '.join(axes)}); take a backbone "
            "for what the data set holds (resnet18_3d for volumes), SliceClassifier for volumes slice by slice, or "
            "StudyClassifier where studies have several images."
        )


def means(features: Mapping[str, Tensor]) -> Tensor:
    """Return the mean of the coarsest map over its cells, (M, C)."""
    coarsest = list(features.values())[-1]
    return coarsest.mean(dim=tuple(range(2, coarsest.dim())))

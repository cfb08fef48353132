"""Medical classifier of single images or volumes, and what every medical classifier shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from vertebra.backbones import Backbone
from vertebra.backbones.conventions import own_names
from vertebra.backbones.layers import Norm
from vertebra.backbones.resolve import resolve_backbone
from vertebra.backbones.warm_start import warm_start
from vertebra.tasks.training.linear_head import LinearHead

IN_CHANNELS = {"in_channels": 1}  # what a named backbone takes if no number is given: scans are gray
MED3D_DECODER = "conv_seg."  # of Med3D's segmentation network, whose encoder MedicalNet publishes along with it


class Activations(NamedTuple):
    """Logits with the feature maps that they are computed from, for Grad-CAM.

    Attributes:
        features: the backbone's maps of all M images, dict of level to (M, C, H, W) or (M, C, D, H, W), fine to coarse;
            each is computed from the one before, and the logits from the last.
        logits: (N, K).
    """

    features: Mapping[str, Tensor]
    logits: Tensor


class MedicalClassifier(nn.Module):
    """Classifier of images, or with a 3-D backbone of volumes; with `resnet50_3d` it is MONAI's `resnet50`.

    The coarsest map is averaged over the image or the volume, and classified by a linear layer.

    Args:
        backbone: a registered name, or a backbone with any options.
        num_classes: K, the classes, grades or findings; binary is two classes, or one finding.
        in_channels: of a named backbone: channels of the input, 1 (gray) if not given.
        weights: of a named backbone: a path, such as that of a MedicalNet checkpoint, or `pretrained`. Three colors in
            its first layer are summed into one. A checkpoint of `vertebra fit` fills all of the network that fits, see
            `vertebra.backbones.warm_start`.
        inflate_from: path of a checkpoint of the 2-D network of the same blocks, for a 3-D network instead of
            `weights`; see `vertebra.backbones.inflate`.
        norm: of a named backbone: `batch` (if not given), `frozen`, `sync` or `group`.
        drop_rate: dropout before the linear layer, in 0..1.

    Shape:
        - images: (N, in_channels, H, W), or (N, in_channels, D, H, W) with a 3-D backbone, float, already scaled
        - counts: not used; a study has one image
        - output: (N, K) logits

    Attributes:
        class_layers: layers whose size depends on the number of classes; see `vertebra.backbones.warm_start`.

    Raises:
        ValueError: an option of a named backbone beside a built one, weights that do not fit, or a number out of its
            range.
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
        inflate_from: str | None = None,
        norm: Norm | None = None,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.backbone = resolve_backbone(
            backbone,
            weights=weights,
            inflate_from=inflate_from,
            in_channels=in_channels,
            norm=norm,
            defaults=IN_CHANNELS,
        )
        self.head = LinearHead(self.backbone.levels[-1].channels, num_classes, drop_rate)
        warm_start(self, weights)

    def forward(self, images: Tensor, counts: Sequence[int] | None = None) -> Tensor:
        return self.forward_features(images, counts).logits

    def forward_features(self, images: Tensor, counts: Sequence[int] | None = None) -> Activations:
        """Return the logits and the maps that they come from; M is N."""
        check_axes(images, self.backbone, several=False)
        features = self.backbone(images)
        return Activations(features, self.head(means(features)))

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a state dict under this network's names; MedicalNet's, MONAI's and torchvision's load as they are."""
        return classifier_names(self, state)

    def placed(self, maps: Tensor, images: Tensor, counts: Sequence[int] | None = None) -> Tensor:
        """Return maps (M, ...) of the images that were looked at in the order of `images`; here they are."""
        return maps


# the lower-case name reads like MONAI's constructors
medical_classifier = MedicalClassifier


def classifier_names(network: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict under the names of a medical classifier.

    One without a last layer, such as MedicalNet's, is completed with the network's own head and pooling.
    """
    if any(key.startswith("backbone.") for key in state):
        return dict(state)
    state = own_names(state)
    if any(key.startswith("fc.") for key in state):
        return {f"head.{key}" if key.startswith("fc.") else f"backbone.{key}": x for key, x in state.items()}
    own = {key: x for key, x in network.state_dict().items() if not key.startswith("backbone.")}
    return own | {f"backbone.{key}": x for key, x in state.items() if not key.startswith(MED3D_DECODER)}


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

"""Medical classifier of single images or volumes, and the parts that all medical classifiers share."""

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

IN_CHANNELS = {"in_channels": 1}  # default of a named backbone: scans are gray
MED3D_DECODER = "conv_seg."  # prefix of the Med3D segmentation decoder, which MedicalNet checkpoints contain


class Activations(NamedTuple):
    """Logits and the feature maps they are computed from, for Grad-CAM.

    Attributes:
        features: feature maps of all M images, dict of level to (M, C, H, W) or (M, C, D, H, W), fine to coarse; each
            is computed from the previous one, and the logits from the last.
        logits: (N, K).
    """

    features: Mapping[str, Tensor]
    logits: Tensor


class MedicalClassifier(nn.Module):
    """Classifier of images, or with a 3-D backbone of volumes: global average pooling and a linear layer.

    With `resnet50_3d` it equals MONAI's `resnet50`.

    Args:
        backbone: a registered name, or a built backbone.
        num_classes: K, number of classes, grades or findings; a binary problem has two classes, or one finding.
        in_channels: input channels of a named backbone, 1 (gray) if not given.
        weights: weights of a named backbone: a path, such as a MedicalNet checkpoint, or `pretrained`. First-layer
            weights of RGB are summed over color for gray input. A checkpoint of `vertebra fit` also fills the head if
            it matches, see `vertebra.backbones.warm_start`.
        inflate_from: path of a checkpoint of the 2-D network with the same blocks, to initialize a 3-D network instead
            of `weights`; see `vertebra.backbones.inflate`.
        norm: normalization of a named backbone: `batch` (default), `frozen`, `sync` or `group`.
        drop_rate: dropout rate before the linear layer, in 0..1.

    Shape:
        - images: (N, in_channels, H, W), or (N, in_channels, D, H, W) with a 3-D backbone, float, intensity-scaled
        - counts: ignored; a study has one image
        - output: (N, K) logits

    Attributes:
        class_layers: layers whose size depends on the number of classes; see `vertebra.backbones.warm_start`.

    Raises:
        ValueError: an option of a named backbone given with a built one, weights that do not match, or a number out of
            range.
        FileNotFoundError: the weights do not exist.
    """

    class_layers = ("head",)  # not loaded from a checkpoint with other classes

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
        self.backbone.trim_for_classifier()
        self.head = LinearHead(self.backbone.levels[-1].channels, num_classes, drop_rate)
        # last, since a checkpoint of this library also has weights for the head
        warm_start(self, weights)

    def forward(self, images: Tensor, counts: Sequence[int] | None = None) -> Tensor:
        return self.forward_features(images, counts).logits

    def forward_features(self, images: Tensor, counts: Sequence[int] | None = None) -> Activations:
        """Return the logits and the feature maps; M is N."""
        check_input(images, self.backbone, grouped=False)
        features = self.backbone(images)
        return Activations(features, self.head(global_average_pool(features)))

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a state dict with the keys of this network, converted from MedicalNet, MONAI or torchvision."""
        return classifier_names(self, state)

    def group_by_study(self, maps: Tensor, images: Tensor, counts: Sequence[int] | None = None) -> Tensor:
        """Return per-image maps (M, ...) in the layout of `images`: unchanged, as a study has one image."""
        return maps


# lower-case alias, in the style of MONAI's constructors
medical_classifier = MedicalClassifier


def classifier_names(network: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict with the keys of a medical classifier.

    Checkpoints without a classification layer, such as MedicalNet's, keep the current head and pooling of the network.
    """
    if any(key.startswith("backbone.") for key in state):  # a checkpoint of this library
        return dict(state)
    state = own_names(state)  # backbone keys in torchvision's naming
    if any(key.startswith("fc.") for key in state):
        return {f"head.{key}" if key.startswith("fc.") else f"backbone.{key}": x for key, x in state.items()}
    # loading is strict, so the missing keys are filled with their current values
    own = {key: x for key, x in network.state_dict().items() if not key.startswith("backbone.")}
    return own | {f"backbone.{key}": x for key, x in state.items() if not key.startswith(MED3D_DECODER)}


def check_input(images: Tensor, backbone: Backbone, grouped: bool) -> None:
    """Reject input whose number of axes does not match the backbone; `grouped` adds an axis for images of a study."""
    # reductions of 3-D backbones are tuples (T, H, W)
    is_2d = isinstance(backbone.levels[-1].reduction, int)
    axes = ["N", *(["I"] if grouped else []), "C", *([] if is_2d else ["D"]), "H", "W"]
    if images.dim() != len(axes):
        kind = "images" if is_2d else "volumes"
        raise ValueError(
            f"images are {tuple(images.shape)}, but this network takes {kind}, ({', '.join(axes)}); use a backbone "
            "of the right dimension (resnet18_3d for volumes), SliceClassifier for volumes slice by slice, or "
            "StudyClassifier for studies of several images."
        )


def global_average_pool(features: Mapping[str, Tensor]) -> Tensor:
    """Return the spatial mean of the coarsest map, (M, C)."""
    coarsest = list(features.values())[-1]
    return coarsest.mean(dim=tuple(range(2, coarsest.dim())))

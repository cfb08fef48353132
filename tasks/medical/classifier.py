"""Networks by name: of images or volumes, of volumes slice by slice, and of studies of several images."""

from __future__ import annotations

from vertebra.backbones import Backbone, create_backbone, inflate, load_weights
from vertebra.backbones.layers import Norm
from vertebra.backbones.warm_start import warm_start, without_checkpoint
from vertebra.backbones.weights import backbone_state_dict
from vertebra.tasks.medical.image_network import MedicalClassifier
from vertebra.tasks.medical.pooling import Pooling, pooling_layer
from vertebra.tasks.medical.study_network import SliceClassifier, StudyClassifier
from vertebra.tasks.training.linear_head import LinearHead


def medical_classifier(
    backbone: str | Backbone,
    num_classes: int,
    *,
    in_channels: int = 1,
    weights: str | None = None,
    inflate_from: str | None = None,
    norm: Norm = "batch",
    drop_rate: float = 0.0,
) -> MedicalClassifier:
    """Assemble a classifier of images, or with a 3-D backbone of volumes; with `resnet50_3d` it is MONAI's `resnet50`.

    Args:
        backbone: a registered name, or a backbone with any options.
        num_classes: K, the classes, grades or findings; binary is two classes, or one finding.
        in_channels: for a backbone given by name: channels of the input, 1 for gray images.
        weights: for a backbone given by name: a path, such as that of a MedicalNet checkpoint, or `pretrained`. Three
            colors in its first layer are summed into one. A checkpoint of `vertebra fit` fills all of the network that
            fits, see `vertebra.backbones.warm_start`.
        inflate_from: path of a checkpoint of the 2-D network of the same blocks, for a 3-D network to begin with; see
            `vertebra.backbones.inflate`.
        norm: for a backbone given by name: `batch`, `frozen`, `sync` or `group`.
        drop_rate: dropout in front of the linear layer, in 0..1.

    Raises:
        ValueError: there is no such backbone, the weights do not fit it, or a number is none that can be.
        FileNotFoundError: there is no such file.
    """
    body = _backbone(backbone, in_channels, weights, inflate_from, norm)
    network = MedicalClassifier(body, LinearHead(body.levels[-1].channels, num_classes, drop_rate))
    return warm_start(network, weights)


def slice_classifier(
    backbone: str | Backbone,
    num_classes: int,
    *,
    pooling: Pooling = "attention",
    in_channels: int = 1,
    weights: str | None = None,
    norm: Norm = "batch",
    drop_rate: float = 0.0,
) -> SliceClassifier:
    """Assemble a classifier of volumes that sees their slices through a 2-D backbone (2.5-D).

    Args:
        backbone: as for `medical_classifier`, of images.
        num_classes: K.
        pooling: how slices come together: `mean`, `max`, or learned `attention`.
        in_channels: as for `medical_classifier`.
        weights: as for `medical_classifier`.
        norm: as for `medical_classifier`.
        drop_rate: as for `medical_classifier`.

    Raises:
        ValueError: as for `medical_classifier`, or the backbone takes volumes.
    """
    body = _backbone(backbone, in_channels, weights, None, norm)
    level = body.levels[-1]
    if not isinstance(level.reduction, int):
        raise ValueError(
            f"the backbone reduces {len(level.reduction)} axes (level {level.name}: {level.reduction}), but slices "
            "have height and width; take a 2-D backbone, or medical_classifier for volumes as a whole."
        )
    head = LinearHead(level.channels, num_classes, drop_rate)
    return warm_start(SliceClassifier(body, pooling_layer(pooling, level.channels), head), weights)


def study_classifier(
    backbone: str | Backbone,
    num_classes: int,
    *,
    pooling: Pooling = "attention",
    in_channels: int = 1,
    weights: str | None = None,
    inflate_from: str | None = None,
    norm: Norm = "batch",
    drop_rate: float = 0.0,
) -> StudyClassifier:
    """Assemble a classifier of studies with several images or volumes each (multiple-instance learning).

    Args:
        backbone: as for `medical_classifier`.
        num_classes: K.
        pooling: how the images of a study come together: `mean`, `max`, or learned `attention`.
        in_channels: as for `medical_classifier`.
        weights: as for `medical_classifier`.
        inflate_from: as for `medical_classifier`.
        norm: as for `medical_classifier`.
        drop_rate: as for `medical_classifier`.

    Raises:
        ValueError: as for `medical_classifier`.
    """
    body = _backbone(backbone, in_channels, weights, inflate_from, norm)
    channels = body.levels[-1].channels
    head = LinearHead(channels, num_classes, drop_rate)
    return warm_start(StudyClassifier(body, pooling_layer(pooling, channels), head), weights)


def _backbone(
    backbone: str | Backbone, in_channels: int, weights: str | None, inflate_from: str | None, norm: Norm
) -> Backbone:
    name = backbone if isinstance(backbone, str) else type(backbone).__name__
    if isinstance(backbone, str):
        of_backbone = without_checkpoint(weights)
        backbone = create_backbone(backbone, in_channels=in_channels, norm=norm, weights=of_backbone)
    if inflate_from is not None:
        if isinstance(backbone.levels[-1].reduction, int):
            raise ValueError(
                f"inflate_from is {inflate_from}, but {name} takes images; give it as weights, or take a 3-D backbone."
            )
        load_weights(backbone, inflate(backbone_state_dict(inflate_from), backbone), adapt=True)
    return backbone

"""Medical classifiers that pool over several images: those of a study, or the slices of a volume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from vertebra.backbones import Backbone
from vertebra.backbones.layers import Norm
from vertebra.backbones.resolve import resolve_backbone
from vertebra.backbones.warm_start import warm_start
from vertebra.tasks.medical.image_network import IN_CHANNELS, Activations, check_axes, classifier_names, means
from vertebra.tasks.medical.pooling import AttentionPooling, Pooling, pooling_layer
from vertebra.tasks.training.linear_head import LinearHead


class StudyClassifier(nn.Module):
    """Classifier of studies with several images or volumes each (multiple-instance learning).

    The backbone sees every image alone; a pooling combines the images of a study.

    Args:
        backbone: a registered name, or a backbone with any options.
        num_classes: K, the classes, grades or findings.
        pooling: over the images of a study: `mean`, `max`, or learned `attention`.
        in_channels: as for `MedicalClassifier`.
        weights: as for `MedicalClassifier`.
        inflate_from: as for `MedicalClassifier`.
        norm: as for `MedicalClassifier`.
        drop_rate: as for `MedicalClassifier`.

    Shape:
        - images: (N, I, in_channels, H, W), or (N, I, in_channels, D, H, W) with a 3-D backbone, float, already scaled;
          padding of a study to I images is skipped, and does not enter the statistics of norms
        - counts: N integers of the host, the number of images in each study, 1..I; None for all
        - output: (N, K) logits

    Attributes:
        class_layers: layers whose size depends on the number of classes; see `vertebra.backbones.warm_start`.

    Raises:
        ValueError: as for `MedicalClassifier`.
        FileNotFoundError: there are no such weights.
    """

    class_layers = ("head",)

    def __init__(
        self,
        backbone: str | Backbone,
        num_classes: int,
        *,
        pooling: Pooling = "attention",
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
        channels = self.backbone.levels[-1].channels
        head = LinearHead(channels, num_classes, drop_rate)
        self.pooling = pooling_layer(pooling, channels)
        self.head = head
        warm_start(self, weights)

    def forward(self, images: Tensor, counts: Sequence[int] | None = None) -> Tensor:
        return self.forward_features(images, counts).logits

    def forward_features(self, images: Tensor, counts: Sequence[int] | None = None) -> Activations:
        """Return the logits and the maps that they come from; M is the sum of the counts."""
        features, embedded, places = self._embed(images, counts)
        return Activations(features, self.head(self.pooling(embedded, _present(images, places))))

    def attention(self, images: Tensor, counts: Sequence[int] | None = None) -> Tensor:
        """Return how much each image counts for the answer, (N, I) float32: sums are 1, and 0 stands for padding.

        Raises:
            ValueError: the pooling is not one by attention.
        """
        if not isinstance(self.pooling, AttentionPooling):
            raise ValueError(
                f"the pooling is {type(self.pooling).__name__}, which learns no weights; build the network with "
                "pooling=attention."
            )
        _, embedded, places = self._embed(images, counts)
        return self.pooling.weights(embedded, _present(images, places))

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a state dict under this network's names; MedicalNet's, MONAI's and torchvision's load as they are."""
        return classifier_names(self, state)

    def placed(self, maps: Tensor, images: Tensor, counts: Sequence[int] | None = None) -> Tensor:
        """Return maps (M, ...) of the images that were looked at as (N, I, ...), with zeros for padding."""
        return _apart(maps, images, self._places(images, counts))

    def _embed(self, images: Tensor, counts: Sequence[int] | None) -> tuple[dict[str, Tensor], Tensor, Tensor | None]:
        check_axes(images, self.backbone, several=True)
        places = self._places(images, counts)
        flat = images.flatten(0, 1)
        features = self.backbone(flat if places is None else flat.index_select(0, places))
        return features, _apart(means(features), images, places), places

    def _places(self, images: Tensor, counts: Sequence[int] | None) -> Tensor | None:
        """Return which of the N x I images are there, (M,) int64, or None for all."""
        if counts is None:
            return None
        number, most = images.shape[:2]
        numbers = [int(count) for count in counts]
        if len(numbers) != number or not all(1 <= count <= most for count in numbers):
            raise ValueError(
                f"counts are {numbers} for images {tuple(images.shape)}; expected {number} numbers, each from 1 to "
                f"{most}."
            )
        # computed on the host, which knows the counts: a mask as an index would make it wait for the device
        places = [study * most + image for study, count in enumerate(numbers) for image in range(count)]
        return torch.tensor(places).to(images.device, non_blocking=True)


class SliceClassifier(StudyClassifier):
    """Classifier of volumes slice by slice (2.5-D): a 2-D backbone, and a pooling over the slices.

    Args:
        backbone: a registered name, or a 2-D backbone with any options.
        num_classes: K, the classes, grades or findings.
        pooling: over the slices: `mean`, `max`, or learned `attention`.
        in_channels: as for `MedicalClassifier`.
        weights: as for `MedicalClassifier`.
        norm: as for `MedicalClassifier`.
        drop_rate: as for `MedicalClassifier`.

    Shape:
        - images: (N, in_channels, D, H, W) float, already scaled
        - counts: not used; a study has one volume
        - output: (N, K) logits

    Raises:
        ValueError: as for `MedicalClassifier`, or a 3-D backbone.
        FileNotFoundError: there are no such weights.
    """

    def __init__(
        self,
        backbone: str | Backbone,
        num_classes: int,
        *,
        pooling: Pooling = "attention",
        in_channels: int | None = None,
        weights: str | None = None,
        norm: Norm | None = None,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__(
            backbone,
            num_classes,
            pooling=pooling,
            in_channels=in_channels,
            weights=weights,
            norm=norm,
            drop_rate=drop_rate,
        )
        level = self.backbone.levels[-1]
        if not isinstance(level.reduction, int):
            raise ValueError(
                f"the backbone reduces {len(level.reduction)} axes (level {level.name}: {level.reduction}), but slices "
                "have height and width; take a 2-D backbone, or MedicalClassifier for volumes as a whole."
            )

    def _embed(self, images: Tensor, counts: Sequence[int] | None) -> tuple[dict[str, Tensor], Tensor, Tensor | None]:
        if images.dim() != 5:
            raise ValueError(
                f"images are {tuple(images.shape)}, but volumes (N, C, D, H, W) are expected, to be seen slice by "
                "slice; for images take MedicalClassifier."
            )
        return super()._embed(images.transpose(1, 2), None)

    def _places(self, images: Tensor, counts: Sequence[int] | None) -> Tensor | None:
        return None


# the lower-case names read like MONAI's constructors
study_classifier = StudyClassifier
slice_classifier = SliceClassifier


def _present(images: Tensor, places: Tensor | None) -> Tensor | None:
    """Return which images (N, I, ...) are there, (N, I) bool, or None for all."""
    if places is None:
        return None
    absent = torch.zeros(images.shape[0] * images.shape[1], dtype=torch.bool, device=images.device)
    return absent.index_fill(0, places, True).view(images.shape[:2])


def _apart(values: Tensor, images: Tensor, places: Tensor | None) -> Tensor:
    """Deal out what belongs to images, (M, ...), to their studies, (N, I, ...), with zeros where there is no image."""
    if places is None:
        return values.unflatten(0, (len(images), -1))
    empty = values.new_zeros((images.shape[0] * images.shape[1], *values.shape[1:]))
    return empty.index_copy(0, places, values).view(*images.shape[:2], *values.shape[1:])

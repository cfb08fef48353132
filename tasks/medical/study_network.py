"""Multiple-instance classifiers: pooling over the images of a study, or over the slices of a volume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from vertebra.backbones import Backbone
from vertebra.backbones.layers import Norm
from vertebra.backbones.resolve import resolve_backbone
from vertebra.backbones.warm_start import warm_start
from vertebra.tasks.medical.image_network import (
    IN_CHANNELS,
    Activations,
    check_input,
    classifier_names,
    global_average_pool,
)
from vertebra.tasks.medical.pooling import AttentionPooling, Pooling, pooling_layer
from vertebra.tasks.training.linear_head import LinearHead


class StudyClassifier(nn.Module):
    """Multiple-instance classifier of studies with several images or volumes each.

    The backbone embeds each image independently; pooling combines the embeddings of a study.

    Args:
        backbone: a registered name, or a built backbone.
        num_classes: K, number of classes, grades or findings.
        pooling: pooling over the images of a study: `mean`, `max`, or learned `attention`.
        in_channels: as for `MedicalClassifier`.
        weights: as for `MedicalClassifier`.
        inflate_from: as for `MedicalClassifier`.
        norm: as for `MedicalClassifier`.
        drop_rate: as for `MedicalClassifier`.

    Shape:
        - images: (N, I, in_channels, H, W), or (N, I, in_channels, D, H, W) with a 3-D backbone, float, after intensity
          scaling; padding images are skipped, and do not enter the statistics of batch norm
        - counts: N Python integers, number of images in each study, 1..I; None if there is no padding
        - output: (N, K) logits

    Attributes:
        class_layers: layers whose size depends on the number of classes; see `vertebra.backbones.warm_start`.

    Raises:
        ValueError: as for `MedicalClassifier`.
        FileNotFoundError: the weights do not exist.
    """

    class_layers = ("head",)  # the pooling is kept: it does not depend on the classes

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
        self.backbone.trim_for_classifier()
        channels = self.backbone.levels[-1].channels
        # head before pooling: the order of random initialization is part of a seeded run
        head = LinearHead(channels, num_classes, drop_rate)
        self.pooling = pooling_layer(pooling, channels)
        self.head = head
        warm_start(self, weights)

    def forward(self, images: Tensor, counts: Sequence[int] | None = None) -> Tensor:
        return self.forward_features(images, counts).logits

    def forward_features(self, images: Tensor, counts: Sequence[int] | None = None) -> Activations:
        """Return the logits and the feature maps; M is the sum of the counts."""
        features, embedded, indices = self._embed(images, counts)
        return Activations(features, self.head(self.pooling(embedded, _present(images, indices))))

    def attention(self, images: Tensor, counts: Sequence[int] | None = None) -> Tensor:
        """Return the attention weight of each image, (N, I) float32: sums to 1 over a study, 0 for padding.

        Raises:
            ValueError: the pooling is not `attention`.
        """
        if not isinstance(self.pooling, AttentionPooling):
            raise ValueError(
                f"the pooling is {type(self.pooling).__name__}, which has no attention weights; build the network with "
                "pooling=attention."
            )
        _, embedded, indices = self._embed(images, counts)
        return self.pooling.weights(embedded, _present(images, indices))

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a state dict with the keys of this network, converted from MedicalNet, MONAI or torchvision."""
        return classifier_names(self, state)

    def group_by_study(self, maps: Tensor, images: Tensor, counts: Sequence[int] | None = None) -> Tensor:
        """Return per-image maps (M, ...) grouped by study, (N, I, ...), with zeros for padding."""
        return _scatter(maps, images, self._image_indices(images, counts))

    def _embed(self, images: Tensor, counts: Sequence[int] | None) -> tuple[dict[str, Tensor], Tensor, Tensor | None]:
        check_input(images, self.backbone, grouped=True)
        indices = self._image_indices(images, counts)
        flat = images.flatten(0, 1)
        # padding is dropped before the backbone: it would cost time and enter the batch statistics
        features = self.backbone(flat if indices is None else flat.index_select(0, indices))
        return features, _scatter(global_average_pool(features), images, indices), indices

    def _image_indices(self, images: Tensor, counts: Sequence[int] | None) -> Tensor | None:
        """Return the indices of the M images among the N x I entries, (M,) int64, or None without padding."""
        if counts is None:
            return None
        num_studies, num_images = images.shape[:2]
        numbers = [int(count) for count in counts]
        if len(numbers) != num_studies or not all(1 <= count <= num_images for count in numbers):
            raise ValueError(
                f"counts are {numbers} for images {tuple(images.shape)}; expected {num_studies} numbers, each from 1 "
                f"to {num_images}. Pass the number of images of each study."
            )
        # computed on the host, where the counts are: indexing with a boolean mask would synchronize with the device
        indices = [study * num_images + image for study, count in enumerate(numbers) for image in range(count)]
        return torch.tensor(indices).to(images.device, non_blocking=True)


class SliceClassifier(StudyClassifier):
    """Slice-wise (2.5-D) classifier of volumes: a 2-D backbone, and pooling over slices.

    Args:
        backbone: a registered name, or a built 2-D backbone.
        num_classes: K, number of classes, grades or findings.
        pooling: pooling over slices: `mean`, `max`, or learned `attention`.
        in_channels: as for `MedicalClassifier`.
        weights: as for `MedicalClassifier`.
        norm: as for `MedicalClassifier`.
        drop_rate: as for `MedicalClassifier`.

    Shape:
        - images: (N, in_channels, D, H, W) float, after intensity scaling
        - counts: ignored; a study has one volume
        - output: (N, K) logits

    Raises:
        ValueError: as for `MedicalClassifier`, or a 3-D backbone.
        FileNotFoundError: the weights do not exist.
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
        # checked here: the input of forward is 5-D for both dimensions, so that a 3-D backbone would run on wrong axes
        level = self.backbone.levels[-1]
        if not isinstance(level.reduction, int):
            raise ValueError(
                f"the backbone reduces {len(level.reduction)} axes (level {level.name}: {level.reduction}), but slices "
                "have height and width; use a 2-D backbone, or MedicalClassifier for whole volumes."
            )

    def _embed(self, images: Tensor, counts: Sequence[int] | None) -> tuple[dict[str, Tensor], Tensor, Tensor | None]:
        if images.dim() != 5:
            raise ValueError(
                f"images are {tuple(images.shape)}; expected volumes (N, C, D, H, W), to be classified slice by slice. "
                "For images use MedicalClassifier."
            )
        # slices become the images of a study; no padding, as volumes of a batch have equal depth
        return super()._embed(images.transpose(1, 2), None)

    def _image_indices(self, images: Tensor, counts: Sequence[int] | None) -> Tensor | None:
        return None


# lower-case aliases, in the style of MONAI's constructors
study_classifier = StudyClassifier
slice_classifier = SliceClassifier


def _present(images: Tensor, indices: Tensor | None) -> Tensor | None:
    """Return the mask of images that are not padding, (N, I) bool, or None without padding."""
    if indices is None:
        return None
    # from the indices, which are on the device already: no second copy from the host
    absent = torch.zeros(images.shape[0] * images.shape[1], dtype=torch.bool, device=images.device)
    return absent.index_fill(0, indices, True).view(images.shape[:2])


def _scatter(values: Tensor, images: Tensor, indices: Tensor | None) -> Tensor:
    """Scatter per-image values (M, ...) to studies, (N, I, ...), with zeros for padding."""
    if indices is None:
        return values.unflatten(0, (images.shape[0], -1))
    # index_copy and not assignment by a mask, which would synchronize with the device
    empty = values.new_zeros((images.shape[0] * images.shape[1], *values.shape[1:]))
    return empty.index_copy(0, indices, values).view(*images.shape[:2], *values.shape[1:])

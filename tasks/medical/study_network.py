"""Classifiers that see several images alone and bring them together: those of a study, or the slices of a volume."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vertebra.backbones import Backbone
from vertebra.tasks.medical.image_network import Activations, check_axes, means
from vertebra.tasks.medical.pooling import AttentionPooling


class StudyClassifier(nn.Module):
    """A backbone that sees every image of a study alone, and a pooling that brings the images together.

    Args:
        backbone: images or volumes to feature maps.
        pooling: features (N, I, C), and which of them are there (N, I), to (N, C).
        head: (N, C) -> (N, K).

    Shape:
        - images: (N, I, in_channels, H, W), or (N, I, in_channels, D, H, W) with a 3-D backbone, float, already scaled;
          what pads a study to I images is not looked at, and changes no statistics of norms
        - counts: N integers of the host, how many images of each study are there, 1..I; None for all
        - output: (N, K) logits

    Attributes:
        class_layers: layers whose size depends on the number of classes; see `vertebra.backbones.warm_start`.
    """

    class_layers = ("head",)

    def __init__(self, backbone: Backbone, pooling: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.pooling = pooling
        self.head = head

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
    """A 2-D backbone that sees every slice of a volume alone, and a pooling that brings the slices together (2.5-D).

    Shape:
        - images: (N, in_channels, D, H, W) float, already scaled
        - counts: not looked at; studies have one volume
        - output: (N, K) logits
    """

    def _embed(self, images: Tensor, counts: Sequence[int] | None) -> tuple[dict[str, Tensor], Tensor, Tensor | None]:
        if images.dim() != 5:
            raise ValueError(
                f"images are {tuple(images.shape)}, but volumes (N, C, D, H, W) are expected, to be seen slice by "
                "slice; for images take MedicalClassifier."
            )
        return super()._embed(images.transpose(1, 2), None)

    def _places(self, images: Tensor, counts: Sequence[int] | None) -> Tensor | None:
        return None


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

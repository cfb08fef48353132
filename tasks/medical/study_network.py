"""Classifiers that see several images alone and bring them together: those of a study, or the slices of a volume."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from backbones import Backbone
from tasks.medical.image_network import Seen, check_axes, means
from tasks.medical.pooling import AttentionPooling


class StudyClassifier(nn.Module):
    """A backbone that sees every image of a study alone, and a pooling that brings the images together.

    Args:
        backbone: images or volumes to feature maps.
        pooling: features (N, I, C), and which of them are there (N, I), to (N, C).
        head: (N, C) -> (N, K).

    Shape:
        - images: (N, I, in_channels, H, W), or (N, I, in_channels, D, H, W) with a 3-D backbone, float, already scaled;
          what pads a study to I images is not looked at, and changes no statistics of norms
        - counts: (N,) int64, how many images of each study are there, 1..I; None for all
        - output: (N, K) logits

    Attributes:
        class_layers: layers whose size depends on the number of classes; see `backbones.warm_start`.
    """

    class_layers = ("head",)

    def __init__(self, backbone: Backbone, pooling: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.pooling = pooling
        self.head = head

    def forward(self, images: Tensor, counts: Tensor | None = None) -> Tensor:
        return self.see(images, counts).logits

    def see(self, images: Tensor, counts: Tensor | None = None) -> Seen:
        """Return the logits and the maps that they come from; M is the sum of the counts."""
        features, embedded, present = self._embed(images, counts)
        return Seen(features, self.head(self.pooling(embedded, present)))

    def attention(self, images: Tensor, counts: Tensor | None = None) -> Tensor:
        """Return how much each image counts for the answer, (N, I) float32: sums are 1, and 0 stands for padding.

        Raises:
            ValueError: the pooling is not one by attention.
        """
        if not isinstance(self.pooling, AttentionPooling):
            raise ValueError(
                f"the pooling is {type(self.pooling).__name__}, which learns no weights; build the network with "
                "pooling=attention."
            )
        _, embedded, present = self._embed(images, counts)
        return self.pooling.weights(embedded, present)

    def placed(self, maps: Tensor, images: Tensor, counts: Tensor | None = None) -> Tensor:
        """Return maps (M, ...) of the images that were looked at as (N, I, ...), with zeros for padding."""
        return _apart(maps, len(images), self._present(images, counts))

    def _embed(self, images: Tensor, counts: Tensor | None) -> tuple[dict[str, Tensor], Tensor, Tensor | None]:
        check_axes(images, self.backbone, several=True)
        present = self._present(images, counts)
        features = self.backbone(images.flatten(0, 1) if present is None else images[present])
        return features, _apart(means(features), len(images), present), present

    def _present(self, images: Tensor, counts: Tensor | None) -> Tensor | None:
        """Return which images are there, (N, I) bool, or None for all."""
        if counts is None:
            return None
        number, most = images.shape[:2]
        if counts.shape != (number,) or bool(((counts < 1) | (counts > most)).any()):
            raise ValueError(
                f"counts are {counts.tolist()} for images {tuple(images.shape)}; expected {number} numbers, each from "
                f"1 to {most}."
            )
        return torch.arange(most, device=images.device) < counts[:, None]


class SliceClassifier(StudyClassifier):
    """A 2-D backbone that sees every slice of a volume alone, and a pooling that brings the slices together (2.5-D).

    Shape:
        - images: (N, in_channels, D, H, W) float, already scaled
        - counts: not looked at; studies have one volume
        - output: (N, K) logits
    """

    def _embed(self, images: Tensor, counts: Tensor | None) -> tuple[dict[str, Tensor], Tensor, Tensor | None]:
        if images.dim() != 5:
            raise ValueError(
                f"images are {tuple(images.shape)}, but volumes (N, C, D, H, W) are expected, to be seen slice by "
                "slice; for images take MedicalClassifier."
            )
        return super()._embed(images.transpose(1, 2), None)

    def _present(self, images: Tensor, counts: Tensor | None) -> Tensor | None:
        return None


def _apart(values: Tensor, number: int, present: Tensor | None) -> Tensor:
    """Deal out what belongs to images, (M, ...), to their studies, (N, I, ...), with zeros where there is no image."""
    if present is None:
        return values.unflatten(0, (number, -1))
    empty = values.new_zeros((*present.shape, *values.shape[1:]))
    return empty.index_put((present,), values)

"""Contrastive denoising: in training, true boxes with noise on them are queries too, and are to be put right.

DINO, Zhang et al. 2022, https://arxiv.org/abs/2203.03605, section 3.3
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from vertebra.tasks.detection.networks.rtdetr.coordinates import inverse_sigmoid, to_centers, to_corners


class NoisyQueries(NamedTuple):
    """Queries made of the true boxes, in groups that each hold every box twice: a near one and then a far one.

    Attributes:
        content: (N, D, C).
        references: (N, D, 4) float32, logits of cxcywh.
        objects: (N, D) int64, the object that a near query is to find; -1 for the far ones and for padding.
        mask: (D + Q, D + Q) bool, what sees what: groups do not see each other, and the Q queries of the image do not
            see what is made of the truth.
        num_groups: copies of the true boxes.
    """

    content: Tensor
    references: Tensor
    objects: Tensor
    mask: Tensor
    num_groups: int


class Denoising(nn.Module):
    """Makes queries of the true boxes, with noise on the labels and on the corners.

    Args:
        num_classes: K, without the background.
        channels: of the queries.
        num_queries: near queries in all, over as many groups as there is room for; at least one.
        label_noise: part of the labels that are drawn again, half of this in effect.
        box_noise: largest shift of a corner in half widths and heights; a near query has up to this, a far one up to
            twice of it.

    Shape:
        boxes (N, G, 4) cxcywh in 0..1 and labels (N, G) in 1..K, 0 where padded -> `NoisyQueries`
    """

    def __init__(
        self,
        num_classes: int,
        channels: int,
        num_queries: int = 100,
        label_noise: float = 0.5,
        box_noise: float = 1.0,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.num_queries = num_queries
        self.label_noise = label_noise
        self.box_noise = box_noise
        self.embedding = nn.Embedding(num_classes + 1, channels, padding_idx=num_classes)

    def forward(self, boxes: Tensor, labels: Tensor, num_image_queries: int) -> NoisyQueries:
        num_objects = labels.shape[1]
        num_groups = max(1, self.num_queries // num_objects)
        repeats = 2 * num_groups
        labels, boxes = labels.repeat(1, repeats), boxes.repeat(1, repeats, 1)  # (N, D), (N, D, 4)
        is_object = labels > 0
        slots = torch.arange(labels.shape[1], device=labels.device) % (2 * num_objects)
        far = slots >= num_objects  # (D,)

        classes = torch.where(is_object, labels - 1, self.num_classes)
        flipped = torch.rand(labels.shape, device=labels.device) < self.label_noise * 0.5
        others = torch.randint_like(labels, self.num_classes)
        classes = torch.where(flipped & is_object, others, classes)

        signs = torch.randint_like(boxes, 2) * 2 - 1
        shifts = (torch.rand_like(boxes) + far[:, None]) * signs
        corners = to_corners(boxes) + shifts * (0.5 * self.box_noise) * boxes[..., 2:].repeat(1, 1, 2)
        return NoisyQueries(
            content=self.embedding(classes),
            references=inverse_sigmoid(to_centers(corners.clamp(0, 1))),
            objects=torch.where(is_object & ~far, slots, -1),
            mask=visibility(labels.shape[1], 2 * num_objects, num_image_queries, labels.device),
            num_groups=num_groups,
        )


def visibility(num_noisy: int, group: int, num_image_queries: int, device: torch.device) -> Tensor:
    """Return which query (row) sees which (column), (D + Q, D + Q) bool; the first `num_noisy` are in groups."""
    numbers = torch.arange(num_noisy + num_image_queries, device=device)
    groups = torch.where(numbers < num_noisy, numbers // group, -1)
    return (groups[:, None] == groups) | (groups == -1)

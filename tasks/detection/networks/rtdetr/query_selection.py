"""Query selection: the pixels of the pyramid that look most like an object become the decoder's queries."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from vertebra.tasks.detection.networks.rtdetr.attention import perceptron
from vertebra.tasks.detection.networks.rtdetr.deformable_attention import Grids

BASE_SIZE = 0.05  # of the box around a pixel of the finest level, as a part of the image; it doubles with each level
MARGIN = 0.01  # a box of which a coordinate is nearer than this to 0 or 1 is none to start from


class Queries(NamedTuple):
    """What the decoder starts from.

    Attributes:
        content: (N, Q, C), without gradient.
        references: (N, Q, 4) float32, logits of cxcywh.
        logits: (N, Q, K) float32 of the classes.
    """

    content: Tensor
    references: Tensor
    logits: Tensor


class QuerySelection(nn.Module):
    """Scores and corrects a box at each pixel of each level, and keeps the best.

    Deformable DETR's second stage (Zhu et al. 2020, https://arxiv.org/abs/2010.04159), whose scores are trained here
    to be high only where the box is good.

    Args:
        channels: of the pixels.
        num_classes: K, without the background.
        num_queries: Q, or all pixels where there are fewer.

    Shape:
        pixels (N, S, channels) of all levels -> `Queries`
    """

    def __init__(self, channels: int, num_classes: int, num_queries: int) -> None:
        super().__init__()
        self.num_queries = num_queries
        self.project = nn.Sequential(nn.Linear(channels, channels), nn.LayerNorm(channels))
        self.score_head = nn.Linear(channels, num_classes)
        self.box_head = perceptron(channels, channels, channels, 4)
        nn.init.xavier_uniform_(self.project[0].weight)  # type: ignore[arg-type]

    def forward(self, pixels: Tensor, grids: Grids) -> Queries:
        references, valid = start_boxes(grids, pixels.device)
        content = self.project(pixels.masked_fill(~valid[:, None], 0.0))
        logits = self.score_head(content).float()
        references = self.box_head(content).float() + references
        best = (
            logits.amax(dim=-1).topk(torch.sym_min(self.num_queries, pixels.shape[1]), dim=1).indices[..., None]
        )  # (N, Q, 1)
        return Queries(
            content.gather(1, best.expand(-1, -1, content.shape[-1])).detach(),
            references.gather(1, best.expand(-1, -1, 4)),
            logits.gather(1, best.expand(-1, -1, logits.shape[-1])),
        )


def start_boxes(grids: Grids, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the box around each pixel, level after level and row by row.

    Args:
        grids: height and width of each level.
        device: of the result.

    Returns:
        Logits of cxcywh, (S, 4) float32, and which boxes are valid, (S,) bool; the others have the largest logits.
    """
    levels = []
    for number, (height, width) in enumerate(grids):
        y = (torch.arange(height, device=device) + 0.5) / height
        x = (torch.arange(width, device=device) + 0.5) / width
        y, x = torch.meshgrid(y, x, indexing="ij")
        side = torch.full_like(x, BASE_SIZE * 2.0**number)
        levels.append(torch.stack((x, y, side, side), dim=-1).flatten(0, 1))
    boxes = torch.cat(levels)
    valid = ((boxes > MARGIN) & (boxes < 1 - MARGIN)).all(dim=-1)
    return boxes.logit().masked_fill(~valid[:, None], torch.finfo(boxes.dtype).max), valid

"""The region proposal network: from a pyramid to a fixed number of boxes that may hold something.

Faster R-CNN, Ren et al. 2015, https://arxiv.org/abs/1506.01497
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vertebra.backbones.layers import Norm, conv, norm_layer
from vertebra.tasks.detection.anchors import AnchorGenerator
from vertebra.tasks.detection.batch import Targets
from vertebra.tasks.detection.boxes import clip, decode, encode, has_size
from vertebra.tasks.detection.matching import BalancedSampler, Sample, match
from vertebra.tasks.detection.nms import nms_masks
from vertebra.tasks.training.divergence.finite_outputs import refuse_nonfinite

CODER_WEIGHTS = (1.0, 1.0, 1.0, 1.0)
SMOOTH_L1_BETA = 1 / 9
LEAST_SIZE = 1e-3  # pixels; what clipping left of a box outside the image is no proposal


class Proposals(NamedTuple):
    """Boxes that may hold an object, padded to the same number in every image.

    Attributes:
        boxes: (N, R, 4) float32 xyxy, best first, within the image; without area where padded.
        valid: (N, R) bool, False where padded.
    """

    boxes: Tensor
    valid: Tensor


@dataclass
class ProposalSelection:
    """How many proposals go on; the numbers are those of the FPN paper.

    Args:
        per_level: how many of the best anchors of each level are looked at, in training.
        per_image: how many proposals of an image go on, in training.
        per_level_eval: the same in evaluation.
        per_image_eval: the same in evaluation.
        nms_threshold: overlap above which the better of two boxes stays.
    """

    per_level: int = 2000
    per_image: int = 2000
    per_level_eval: int = 1000
    per_image_eval: int = 1000
    nms_threshold: float = 0.7


class RPNHead(nn.Module):
    """Objectness and box deltas for every anchor at every pixel, by the same weights on every level.

    Args:
        channels: of the pyramid.
        num_anchors: at each pixel.
        num_convs: 3x3 convolutions before the two outputs.
        norm: behind each convolution (see `BackboneOptions`), or None.

    Shape:
        list of (N, channels, H, W) -> logits (N, A) and deltas (N, A, 4), float32, in the order of the anchors
    """

    def __init__(self, channels: int, num_anchors: int, num_convs: int = 1, norm: Norm | None = None) -> None:
        super().__init__()
        layers = []
        for _ in range(num_convs):
            convolution = conv(2, channels, channels, kernel_size=3, bias=norm is None)
            layers.append(
                nn.Sequential(convolution, *([norm_layer(2, channels, norm)] if norm else []), nn.ReLU(inplace=True))
            )
        self.conv = nn.Sequential(*layers)
        self.cls_logits = nn.Conv2d(channels, num_anchors, kernel_size=1)
        self.bbox_pred = nn.Conv2d(channels, num_anchors * 4, kernel_size=1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, maps: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        logits, deltas = [], []
        for x in maps:
            x = self.conv(x)
            logits.append(self.cls_logits(x).permute(0, 2, 3, 1).flatten(1).float())
            deltas.append(self.bbox_pred(x).permute(0, 2, 3, 1).reshape(len(x), -1, 4).float())
        return logits, deltas


class RegionProposalNetwork(nn.Module):
    """Scores anchors, corrects the best of them, and learns both from the true boxes.

    Args:
        head: maps of the pyramid to logits and deltas of the anchors.
        anchors: generator of the anchors.
        selection: how many proposals go on.
        sampler: labels (N, A) to the anchors that enter the losses.
        foreground: overlap from which an anchor is an object.
        background: overlap below which it is background.

    Shape:
        - features: dict of (N, C, H_l, W_l)
        - output: `Proposals`, and the losses `loss_objectness` and `loss_rpn_box_reg` where there are targets
    """

    def __init__(
        self,
        head: nn.Module,
        anchors: AnchorGenerator,
        selection: ProposalSelection | None = None,
        sampler: Callable[[Tensor], Sample] | None = None,
        foreground: float = 0.7,
        background: float = 0.3,
    ) -> None:
        super().__init__()
        self.head = head
        self.anchors = anchors
        self.selection = selection or ProposalSelection()
        self.sampler = sampler or BalancedSampler(256, object_fraction=0.5)
        self.foreground = foreground
        self.background = background

    def forward(
        self, features: dict[str, Tensor], image_size: tuple[int, int], sizes: Tensor, targets: Targets | None = None
    ) -> tuple[Proposals, dict[str, Tensor]]:
        maps = list(features.values())
        logits, deltas = self.head(maps)
        grids = tuple((x.shape[2], x.shape[3]) for x in maps)
        anchors = self.anchors(grids, image_size, maps[0].device)
        if targets is None:
            for output in (*logits, *deltas):
                refuse_nonfinite(output)
        proposals = self.propose(logits, deltas, anchors, sizes)
        if targets is None:
            return proposals, {}
        return proposals, self.losses(torch.cat(logits, dim=1), torch.cat(deltas, dim=1), anchors, targets)

    @torch.no_grad()
    def propose(self, logits: list[Tensor], deltas: list[Tensor], anchors: Tensor, sizes: Tensor) -> Proposals:
        """Correct the best anchors of each level, thin them out, and keep the best of each image."""
        chosen = self.selection
        per_level = chosen.per_level if self.training else chosen.per_level_eval
        per_image = chosen.per_image if self.training else chosen.per_image_eval
        all_boxes, all_scores = [], []
        of_level = anchors.split([level.shape[1] for level in logits])
        for level_logits, level_deltas, level_anchors in zip(logits, deltas, of_level, strict=True):
            best = level_logits.topk(min(per_level, level_logits.shape[1]), dim=1)  # best first
            level_deltas = level_deltas.gather(1, best.indices[..., None].expand(-1, -1, 4))
            boxes = clip(decode(level_deltas, level_anchors[best.indices], CODER_WEIGHTS), sizes)
            keep = has_size(boxes, LEAST_SIZE)
            # what has no area suppresses nothing; filled and not multiplied, since a box of NaN stays one
            all_boxes.append(boxes.masked_fill(~keep[..., None], 0.0))
            all_scores.append(best.values.sigmoid().masked_fill(~keep, -1.0))
        survive = torch.cat(nms_masks(all_boxes, chosen.nms_threshold, allow_sync=not self.training), dim=1)
        boxes, scores = torch.cat(all_boxes, dim=1), torch.cat(all_scores, dim=1).masked_fill(~survive, -1.0)
        best = scores.topk(min(per_image, scores.shape[1]), dim=1)
        valid = best.values >= 0
        boxes = boxes.gather(1, best.indices[..., None].expand(-1, -1, 4)) * valid[..., None]
        return Proposals(boxes, valid)

    def losses(self, logits: Tensor, deltas: Tensor, anchors: Tensor, targets: Targets) -> dict[str, Tensor]:
        """Compare logits (N, A) and deltas (N, A, 4) of a sample of the anchors with the truth."""
        matched = match(anchors, targets, self.foreground, self.background, allow_low_quality_matches=True)
        sample = self.sampler(matched.labels)
        taken, is_object = sample.labels >= 0, sample.labels > 0
        count = taken.sum().clamp(min=1)
        loss_objectness = F.binary_cross_entropy_with_logits(
            logits.gather(1, sample.indices), is_object.to(logits.dtype), weight=taken.to(logits.dtype), reduction="sum"
        )
        objects = matched.objects.gather(1, sample.indices)
        boxes = targets.boxes.gather(1, objects[..., None].expand(-1, -1, 4))
        wanted = encode(boxes, anchors[sample.indices], CODER_WEIGHTS)
        given = deltas.gather(1, sample.indices[..., None].expand(-1, -1, 4))
        return {
            "loss_objectness": loss_objectness / count,
            "loss_rpn_box_reg": box_loss(given, wanted, is_object) / count,
        }


def box_loss(given: Tensor, wanted: Tensor, counted: Tensor) -> Tensor:
    """Return the sum of smooth L1 over the deltas (..., 4) where `counted` (...) is True."""
    wanted = torch.where(counted[..., None], wanted, given.detach())  # no NaN from padding enters a gradient
    return F.smooth_l1_loss(given, wanted, beta=SMOOTH_L1_BETA, reduction="sum")

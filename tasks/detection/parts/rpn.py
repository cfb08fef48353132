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

from vertebra.backbones.layers import Norm
from vertebra.tasks.detection.parts.anchors import AnchorGenerator
from vertebra.tasks.detection.parts.assigners import Assigner, IoUAssigner
from vertebra.tasks.detection.parts.batch import Targets
from vertebra.tasks.detection.parts.box_coder import BoxCoder
from vertebra.tasks.detection.parts.boxes import clip, has_size, take
from vertebra.tasks.detection.parts.candidates import Candidates
from vertebra.tasks.detection.parts.layers import conv_stack
from vertebra.tasks.detection.parts.losses import SmoothL1
from vertebra.tasks.detection.parts.nms import nms_masks
from vertebra.tasks.detection.parts.sampling import BalancedSampler, Sample
from vertebra.tasks.training.divergence.finite_outputs import OutputChecks

LEAST_SIZE = 1e-3  # pixels; what clipping left of a box outside the image is no proposal


class Proposals(NamedTuple):
    """Boxes that may hold an object, padded to the same number in every image.

    Attributes:
        boxes: (N, R, 4) float32 xyxy, best first, within the image; without area where padded.
        valid: (N, R) bool, False where padded.
    """

    boxes: Tensor
    valid: Tensor

    def trimmed(self) -> Proposals:
        """Return them without what is padding in every image; at least one column stays."""
        most = max(int(self.valid.sum(dim=1).max()), 1) if len(self.valid) else 1
        return Proposals(self.boxes[:, :most], self.valid[:, :most])


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
        self.conv = nn.Sequential(*conv_stack(channels, num_convs, norm))
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
            deltas.append(self.bbox_pred(x).permute(0, 2, 3, 1).reshape(x.shape[0], -1, 4).float())
        return logits, deltas


class RegionProposalNetwork(nn.Module):
    """Scores anchors, corrects the best of them, and learns both from the true boxes.

    Args:
        head: maps of the pyramid to logits and deltas of the anchors.
        anchors: generator of the anchors.
        selection: how many proposals go on.
        sampler: labels (N, A) to the anchors that enter the losses.
        assigner: anchors to objects.
        coder: of the deltas.

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
        assigner: Assigner | None = None,
        coder: BoxCoder | None = None,
    ) -> None:
        super().__init__()
        self.head = head
        self.anchors = anchors
        self.selection = selection or ProposalSelection()
        self.sampler = sampler or BalancedSampler(256, object_fraction=0.5)
        self.assigner = assigner or IoUAssigner(0.7, 0.3, allow_low_quality_matches=True)
        self.coder = coder or BoxCoder()
        self.box_loss = SmoothL1(beta=1 / 9)

    def forward(
        self,
        features: dict[str, Tensor],
        image_size: tuple[int, int],
        sizes: Tensor,
        targets: Targets | None = None,
        checks: OutputChecks | None = None,
    ) -> tuple[Proposals, dict[str, Tensor]]:
        maps = list(features.values())
        logits, deltas = self.head(maps)
        anchors = self.anchors.candidates(maps, image_size)
        checks = checks or OutputChecks()
        if targets is None:
            for output in (*logits, *deltas):
                checks(output)
        allow_sync = not self.training and checks.allow_sync
        proposals = self.propose(logits, deltas, anchors.boxes, sizes, allow_sync)
        if targets is None:
            # small images have few proposals; a GPU would wait for their number, and an exported network has one shape
            is_free = proposals.boxes.device.type == "cpu" and not torch.compiler.is_exporting()
            return proposals.trimmed() if is_free else proposals, {}
        return proposals, self.losses(torch.cat(logits, dim=1), torch.cat(deltas, dim=1), anchors, targets)

    @torch.no_grad()
    def propose(
        self, logits: list[Tensor], deltas: list[Tensor], anchors: Tensor, sizes: Tensor, allow_sync: bool = True
    ) -> Proposals:
        """Correct the best anchors of each level, thin them out, and keep the best of each image.

        Args:
            logits: for each level (N, A_l).
            deltas: for each level (N, A_l, 4).
            anchors: (A, 4), level after level.
            sizes: (N, 2) height and width of the images.
            allow_sync: whether the host may wait for a GPU, as where detections are the end of it.
        """
        chosen = self.selection
        per_level = chosen.per_level if self.training else chosen.per_level_eval
        per_image = chosen.per_image if self.training else chosen.per_image_eval
        all_boxes, all_scores = [], []
        of_level = anchors.split([level.shape[1] for level in logits])
        for level_logits, level_deltas, level_anchors in zip(logits, deltas, of_level, strict=True):
            best = level_logits.topk(torch.sym_min(per_level, level_logits.shape[1]), dim=1)  # best first
            boxes = clip(self.coder.decode(take(level_deltas, best.indices), level_anchors[best.indices]), sizes)
            keep = has_size(boxes, LEAST_SIZE)
            # what has no area suppresses nothing; filled and not multiplied, since a box of NaN stays one
            all_boxes.append(boxes.masked_fill(~keep[..., None], 0.0))
            all_scores.append(best.values.sigmoid().masked_fill(~keep, -1.0))
        survive = torch.cat(nms_masks(all_boxes, chosen.nms_threshold, allow_sync), dim=1)
        boxes, scores = torch.cat(all_boxes, dim=1), torch.cat(all_scores, dim=1).masked_fill(~survive, -1.0)
        best = scores.topk(torch.sym_min(per_image, scores.shape[1]), dim=1)
        valid = best.values >= 0
        boxes = take(boxes, best.indices) * valid[..., None]
        return Proposals(boxes, valid)

    def losses(self, logits: Tensor, deltas: Tensor, anchors: Candidates, targets: Targets) -> dict[str, Tensor]:
        """Compare logits (N, A) and deltas (N, A, 4) of a sample of the anchors with the truth."""
        assigned = self.assigner(anchors, targets)
        sample = self.sampler(assigned.labels)
        taken, is_object = sample.labels >= 0, sample.labels > 0
        count = taken.sum().clamp(min=1)
        loss_objectness = F.binary_cross_entropy_with_logits(
            logits.gather(1, sample.indices), is_object.to(logits.dtype), weight=taken.to(logits.dtype), reduction="sum"
        )
        boxes = take(targets.boxes, assigned.objects.gather(1, sample.indices))
        given, references = take(deltas, sample.indices), anchors.boxes[sample.indices]
        return {
            "loss_objectness": loss_objectness / count,
            "loss_rpn_box_reg": self.box_loss(self.coder, given, references, boxes, is_object).sum() / count,
        }

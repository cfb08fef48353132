"""RT-DETR: a query-based detector on a hybrid encoder.

DETRs Beat YOLOs on Real-time Object Detection, Zhao et al. 2023, https://arxiv.org/abs/2304.08069
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from vertebra.backbones import Backbone
from vertebra.backbones.layers import Norm, conv, norm_layer
from vertebra.backbones.resolve import resolve_backbone
from vertebra.backbones.warm_start import warm_start
from vertebra.tasks.detection.networks.detector import Detector
from vertebra.tasks.detection.networks.rtdetr.coordinates import absolute, to_corners
from vertebra.tasks.detection.networks.rtdetr.decoder import Decoder
from vertebra.tasks.detection.networks.rtdetr.deformable_attention import Grids
from vertebra.tasks.detection.networks.rtdetr.denoising import Denoising
from vertebra.tasks.detection.networks.rtdetr.hybrid_encoder import HybridEncoder
from vertebra.tasks.detection.networks.rtdetr.losses import SetLoss, Truth
from vertebra.tasks.detection.networks.rtdetr.matching import HungarianMatcher
from vertebra.tasks.detection.networks.rtdetr.query_selection import QuerySelection
from vertebra.tasks.detection.networks.rtdetr.transformers_names import TRANSFORMERS_NAMES
from vertebra.tasks.detection.parts.batch import ImageBatch, Targets
from vertebra.tasks.detection.parts.boxes import clip, has_size, take
from vertebra.tasks.detection.parts.detection_rows import DetectionRows, padded_rows
from vertebra.tasks.detection.parts.layers import start_at_prior
from vertebra.tasks.detection.parts.selection import LEAST_SIZE
from vertebra.tasks.training.divergence.finite_outputs import OutputChecks, refuse_peaks


@dataclass
class QueryDetections:
    """Which detections are reported; there is no suppression, since training leaves one query to an object.

    Args:
        score_threshold: least score, 0..1.
        per_image: how many of the best pairs of query and class are kept.
    """

    score_threshold: float = 0.0
    per_image: int = 300


class QueryOutputs(NamedTuple):
    """What the queries predict.

    Attributes:
        logits: (N, Q, K).
        boxes: (N, Q, 4), relative centers and sizes.
        peaks: of both, see `OutputChecks`.
    """

    logits: Tensor
    boxes: Tensor
    peaks: Tensor | None


@dataclass(frozen=True)
class TransformerSize:
    """How large all that follows the backbone is; the defaults are those of the paper's R50.

    Args:
        encoder_channels: of the pyramid.
        encoder_feedforward: width of the perceptron in the encoder.
        expansion: channels within the encoder's fusion blocks over `encoder_channels`.
        num_layers: of the decoder.
        channels: of the decoder.
        feedforward: width of the perceptrons in the decoder.
        num_heads: of all attentions.
        num_points: that each head of the decoder looks at on each level.
    """

    encoder_channels: int = 256
    encoder_feedforward: int = 1024
    expansion: float = 1.0
    num_layers: int = 6
    channels: int = 256
    feedforward: int = 1024
    num_heads: int = 8
    num_points: int = 4


SizeName = Literal["r18", "r34", "r50", "r101"]

# https://github.com/lyuwenyu/RT-DETR, rtdetr_pytorch/configs/rtdetr
SIZES: dict[str, TransformerSize] = {
    "r18": TransformerSize(expansion=0.5, num_layers=3),
    "r34": TransformerSize(expansion=0.5, num_layers=4),
    "r50": TransformerSize(),
    "r101": TransformerSize(encoder_channels=384, encoder_feedforward=2048),
}


class RTDETR(Detector):
    """RT-DETR: queries start from the highest-scoring pixels of the pyramid, and each predicts one object.

    The paper's networks are `resnet18vd` with size `r18`, `resnet34vd` with `r34`, `resnet50d` with `r50` and
    `resnet101d` with `r101`; weights of `transformers` for them load unchanged. The authors resize every image to
    640 x 640 pixels; here images keep their aspect ratio and are padded, and boxes are relative to the padded image.

    Args:
        backbone: a registered name, or a backbone with any options; its three coarsest levels are used.
        num_classes: K, without the background.
        in_channels: for a named backbone: channels of the images, 3 if not given; `weights` are adapted to them.
        weights: for a named backbone: a path, `pretrained`, or the name of published weights. A checkpoint of
            `vertebra fit` fills every part of the network that fits, see `vertebra.backbones.warm_start`.
        norm: for a named backbone: `batch` (if not given), `frozen`, `sync` or `group`.
        head_norm: norm of the convolutions of the encoder.
        size: configuration of encoder and decoder.
        num_queries: number of pixels that become queries.
        num_denoising: number of denoising queries, made from the true boxes in training.
        detections: which detections are reported.

    Shape:
        as `Detector`; the losses are `loss_classifier`, `loss_box_l1` and `loss_box_giou`, and the same with the prefix
        `loss_dn_` for the denoising queries, each summed over the layers of the decoder (without the prefix also over
        the encoder's predictions) and divided by the number of objects in the batch

    Raises:
        ValueError: an argument for a named backbone beside a built one, or one that a part refuses.
        FileNotFoundError: there are no such weights.
    """

    class_layers = ("selection.score_head", "decoder.class_heads", "denoising.embedding")
    renames = (*Detector.renames, *TRANSFORMERS_NAMES)

    def __init__(
        self,
        backbone: str | Backbone,
        num_classes: int,
        *,
        in_channels: int | None = None,
        weights: str | None = None,
        norm: Norm | None = None,
        head_norm: Norm = "batch",
        size: SizeName | TransformerSize = "r50",
        num_queries: int = 300,
        num_denoising: int = 100,
        detections: QueryDetections | None = None,
    ) -> None:
        if isinstance(size, str):
            if size not in SIZES:
                raise ValueError(f"size is {size!r}; choose {', '.join(SIZES)}, or give a TransformerSize.")
            size = SIZES[size]
        backbone = resolve_backbone(backbone, in_channels=in_channels, norm=norm, weights=weights)
        levels, channels, num_heads = backbone.levels[-3:], size.channels, size.num_heads
        neck = HybridEncoder(
            levels, size.encoder_channels, num_heads, size.encoder_feedforward, size.expansion, head_norm
        )
        super().__init__(backbone, neck)
        self.decoder = Decoder(
            size.num_layers, channels, num_classes, num_heads, size.feedforward, len(neck.levels), size.num_points
        )
        self.selection = QuerySelection(channels, num_classes, num_queries)
        self.denoising = Denoising(num_classes, channels, num_denoising)
        self.input_proj = nn.ModuleList(
            nn.Sequential(conv(2, level.channels, channels, 1), norm_layer(2, channels, head_norm))
            for level in neck.levels
        )
        self.detections = detections or QueryDetections()
        self.matcher = HungarianMatcher()
        self.loss = SetLoss()
        for head in (self.selection.score_head, *self.decoder.class_heads):
            start_at_prior(head)
        for head in (self.selection.box_head, *self.decoder.box_heads):  # boxes start as those of the layer before
            nn.init.zeros_(head[-1].weight)
            nn.init.zeros_(head[-1].bias)
        warm_start(self, weights)

    def pixels(self, features: dict[str, Tensor]) -> tuple[Tensor, Grids]:
        """Return the pixels of all levels as the decoder sees them, (N, S, C), and the sizes of the levels."""
        maps = [project(x) for project, x in zip(self.input_proj, features.values(), strict=True)]
        grids = tuple((x.shape[2], x.shape[3]) for x in maps)
        return torch.cat([x.flatten(2).transpose(1, 2) for x in maps], dim=1), grids

    def losses(self, features: dict[str, Tensor], batch: ImageBatch, targets: Targets) -> dict[str, Tensor]:
        pixels, grids = self.pixels(features)
        queries = self.selection(pixels, grids)
        truth = Truth.of(targets, batch.padded_size)
        noisy = self.denoising(truth.boxes, truth.labels, queries.content.shape[1])
        content = torch.cat((noisy.content, queries.content), dim=1)
        references = torch.cat((noisy.references, queries.references), dim=1).detach()
        logits, boxes = self.decoder(content, references, pixels, grids, noisy.mask)

        num_noisy = noisy.objects.shape[1]
        of_noisy = noisy.objects.expand(len(logits), -1, -1)
        denoised = self.loss(logits[:, :, :num_noisy], boxes[:, :, :num_noisy], of_noisy, truth, "loss_dn_")
        # what the queries start from is a layer's prediction like the others
        logits = torch.cat((queries.logits[None], logits[:, :, num_noisy:]))
        boxes = torch.cat((queries.references.sigmoid()[None], boxes[:, :, num_noisy:]))
        objects = self.matcher(logits, boxes, truth.boxes, truth.labels)
        found = self.loss(logits, boxes, objects, truth)

        count = truth.num_objects.clamp(min=1)
        some = (truth.num_objects > 0) / noisy.num_groups  # without an object there is nothing to put right
        losses = {name: of_layers.sum() / count for name, of_layers in found.items()}
        return losses | {name: of_layers.sum() / count * some for name, of_layers in denoised.items()}

    def detect(self, features: dict[str, Tensor], batch: ImageBatch) -> DetectionRows:
        return self.finish(self.outputs(features, batch, OutputChecks()), batch)

    @torch.no_grad()
    def outputs(self, features: dict[str, Tensor], batch: ImageBatch, checks: OutputChecks) -> QueryOutputs:
        pixels, grids = self.pixels(features)
        queries = self.selection(pixels, grids)
        (logits,), (boxes,) = self.decoder(queries.content, queries.references, pixels, grids, last_only=True)
        for output in (logits, boxes):  # the sigmoid of an infinity is a number, and looks like an answer
            checks(output)
        return QueryOutputs(logits, boxes, checks.peaks())

    @torch.no_grad()
    def finish(self, outputs: QueryOutputs, batch: ImageBatch) -> DetectionRows:
        logits, boxes, peaks = outputs
        if peaks is not None:
            refuse_peaks(peaks)
        num_classes = logits.shape[-1]
        pairs = logits.sigmoid().flatten(1)  # (N, Q * K)
        best = pairs.topk(torch.sym_min(self.detections.per_image, pairs.shape[1]), dim=1)
        boxes = absolute(to_corners(take(boxes, best.indices // num_classes)), batch.padded_size)
        boxes, labels = clip(boxes, batch.sizes), best.indices % num_classes + 1
        kept = (best.values > self.detections.score_threshold) & has_size(boxes, LEAST_SIZE)
        if torch.compiler.is_exporting():
            return padded_rows(boxes, best.values, labels, kept, self.detections.per_image)
        places = kept.nonzero(as_tuple=True)
        return DetectionRows.of(boxes[places], best.values[places], labels[places], places[0], kept.sum(dim=1))


rt_detr = RTDETR

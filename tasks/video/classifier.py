"""Video classification: a backbone for clips and a head."""

from __future__ import annotations

from torch import Tensor, nn

from vertebra.backbones import Backbone, Level, create_backbone, inflate, load_weights
from vertebra.backbones.layers import Norm
from vertebra.backbones.temporal import TSN
from vertebra.backbones.warm_start import warm_start, without_checkpoint
from vertebra.backbones.weights import backbone_state_dict
from vertebra.backbones.x3d import X3D
from vertebra.tasks.video.heads import MeanHead, RecurrentHead, X3DHead


class VideoClassifier(nn.Module):
    """A backbone, and a head that makes logits of its coarsest map.

    Args:
        backbone: clips to feature maps.
        head: the last of them to logits.

    Shape:
        - clips: (N, in_channels, T, H, W) float, already normalized
        - output: (N, num_classes), logits

    Attributes:
        class_layers: layers whose size depends on the number of classes; see `vertebra.backbones.warm_start`.
    """

    class_layers = ("head.fc",)

    def __init__(self, backbone: Backbone, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, clips: Tensor) -> Tensor:
        return self.head(self.backbone(clips)[self.backbone.levels[-1].name])


def video_classifier(
    backbone: str | Backbone,
    num_classes: int,
    *,
    weights: str | None = None,
    inflate_from: str | None = None,
    norm: Norm = "batch",
    drop_rate: float = 0.5,
) -> VideoClassifier:
    """Assemble a classifier of clips; with a published backbone's name it is the published network, up to dropout.

    Args:
        backbone: a registered name, or a backbone with any options.
        num_classes: number of classes.
        weights: for a backbone given by name: a path, or `pretrained`. A checkpoint of `vertebra fit` fills all of the
            network that fits, see `vertebra.backbones.warm_start`.
        inflate_from: path of a checkpoint of the 2-D network of the same blocks, to begin with; see
            `vertebra.backbones.inflate`.
        norm: for a backbone given by name, and for a norm in the head: `batch`, `frozen`, `sync` or `group`.
        drop_rate: ahead of the last layer, in training; pytorchvideo's networks have 0.5, but CSN 0, as torchvision's.

    Raises:
        ValueError: the backbone takes images, or one of the numbers is none that can be.
    """
    if num_classes < 1:
        raise ValueError(f"num_classes is {num_classes}; a classifier needs at least 1.")
    if not 0 <= drop_rate < 1:
        raise ValueError(f"drop_rate is {drop_rate}; it is a probability, from 0 to below 1.")
    name = backbone if isinstance(backbone, str) else type(backbone).__name__
    if isinstance(backbone, str):
        of_backbone = without_checkpoint(weights)
        backbone = create_backbone(backbone, norm=norm, out_levels=("C5",), weights=of_backbone)
    level = _last_of_clips(backbone, name)
    if inflate_from is not None:
        load_weights(backbone, inflate(backbone_state_dict(inflate_from), backbone))
    if isinstance(backbone, X3D):  # the only family whose paper has more than a linear layer here
        head: nn.Module = X3DHead(level.channels, num_classes, drop_rate, norm)
    else:
        head = MeanHead(level.channels, num_classes, drop_rate)
    return warm_start(VideoClassifier(backbone, head), weights)


def frame_classifier(
    backbone: str | Backbone,
    num_classes: int,
    *,
    weights: str | None = None,
    norm: Norm = "batch",
    drop_rate: float = 0.5,
    hidden: int = 0,
) -> VideoClassifier:
    """Assemble a classifier that sees every frame alone and brings the frames together behind the backbone.

    Args:
        backbone: a registered name of a 2-D backbone, or a 2-D backbone with any options.
        num_classes: number of classes.
        weights: for a backbone given by name: a path, or `pretrained`. A checkpoint of `vertebra fit` fills all of the
            network that fits, see `vertebra.backbones.warm_start`.
        norm: for a backbone given by name.
        drop_rate: ahead of the last layer, in training.
        hidden: 0 takes the mean over the frames, which does not know their order (TSN; of clips of one frame it is the
            plain image classifier); above 0 a recurrent layer of so many units reads them in turn.

    Raises:
        ValueError: the backbone takes clips, or one of the numbers is none that can be.
    """
    if isinstance(backbone, str):
        backbone = create_backbone(backbone, norm=norm, weights=without_checkpoint(weights))
    body = TSN(backbone)
    if not hidden:
        return warm_start(video_classifier(body, num_classes, norm=norm, drop_rate=drop_rate), weights)
    head = RecurrentHead(body.levels[-1].channels, num_classes, drop_rate, hidden)
    return warm_start(VideoClassifier(body, head), weights)


def _last_of_clips(backbone: Backbone, name: str) -> Level:
    level = backbone.levels[-1]
    if isinstance(level.reduction, int):
        raise ValueError(
            f"{name} takes images (N, C, H, W), but clips are (N, C, T, H, W); choose a network for clips, such as "
            "r2plus1d_18 or slow_r50, or put tsn: or tsm: before the name. All: vertebra backbones."
        )
    return level

"""Video classifiers: a backbone for clips, or one for images frame by frame, and a head."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from vertebra.backbones import Backbone
from vertebra.backbones.conventions import own_names
from vertebra.backbones.layers import Norm
from vertebra.backbones.resolve import resolve_backbone
from vertebra.backbones.temporal import TSN
from vertebra.backbones.warm_start import warm_start
from vertebra.tasks.video.heads import AvgPoolHead, RecurrentHead, X3DHead


class ClipClassifier(nn.Module):
    """Base of the video classifiers: a head on the coarsest map of a backbone for clips.

    Args:
        backbone: clips to feature maps.
        head: (N, C, T', H', W') -> (N, K), where C is the channels of the backbone's last level.

    Shape:
        - clips: (N, in_channels, T, H, W) float, already normalized
        - output: (N, K) logits; labels are 0..K-1

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

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a state dict under this network's names; torchvision's and pytorchvideo's load as they are."""
        if any(key.startswith("backbone.") for key in state):
            return dict(state)
        return {_own_key(key): value for key, value in own_names(state).items()}


class VideoClassifier(ClipClassifier):
    """Classifier of clips; with a published backbone's name it is the published network, up to dropout.

    Args:
        backbone: a registered name, or a backbone for clips with any options.
        num_classes: K, the number of classes.
        weights: of a named backbone: a path, or `pretrained`. A checkpoint of `vertebra fit` fills all of the network
            that fits, see `vertebra.backbones.warm_start`.
        inflate_from: path of a checkpoint of the 2-D network of the same blocks, instead of `weights`; see
            `vertebra.backbones.inflate`.
        norm: of a named backbone, and of a head with norms (X3D's): `batch` (if not given), `frozen`, `sync`, `group`.
        drop_rate: dropout before the last layer, in 0..1; pytorchvideo's networks have 0.5 (CSN: 0), torchvision's 0.

    Shape:
        - clips: (N, in_channels, T, H, W) float, already normalized
        - output: (N, K) logits; labels are 0..K-1

    Raises:
        ValueError: an option of a named backbone beside a built one, a 2-D backbone, or a number out of its range.
        FileNotFoundError: there are no such weights.
    """

    def __init__(
        self,
        backbone: str | Backbone,
        num_classes: int,
        *,
        weights: str | None = None,
        inflate_from: str | None = None,
        norm: Norm | None = None,
        drop_rate: float = 0.5,
    ) -> None:
        _check_numbers(num_classes, drop_rate)
        # beside a built backbone a norm is still the head's, where that has one
        of_backbone = norm if isinstance(backbone, str) or not backbone.head_widths else None
        body = resolve_backbone(
            backbone,
            weights=weights,
            inflate_from=inflate_from,
            norm=of_backbone,
            defaults={"out_levels": ("C5",)},
        )
        level = body.levels[-1]
        if isinstance(level.reduction, int):
            name = backbone if isinstance(backbone, str) else type(backbone).__name__
            raise ValueError(
                f"{name} takes images (N, C, H, W), but clips are (N, C, T, H, W); choose a network for clips, such as "
                "r2plus1d_18 or slow_r50, or put tsn: or tsm: before the name. All: vertebra backbones."
            )
        if body.head_widths:
            head: nn.Module = X3DHead(level.channels, num_classes, drop_rate, norm or "batch", body.head_widths)
        else:
            head = AvgPoolHead(level.channels, num_classes, drop_rate)
        super().__init__(body, head)
        warm_start(self, weights)


class FrameClassifier(ClipClassifier):
    """Classifier of clips with a 2-D backbone: frame by frame, and then pooled over time.

    Args:
        backbone: a registered name of a 2-D backbone, or a 2-D backbone with any options.
        num_classes: K, the number of classes.
        weights: of a named backbone: a path, or `pretrained`. A checkpoint of `vertebra fit` fills all of the network
            that fits, see `vertebra.backbones.warm_start`.
        norm: of a named backbone: `batch` (if not given), `frozen`, `sync` or `group`.
        drop_rate: dropout before the last layer, in 0..1.
        hidden: 0 for the mean over frames, which ignores their order (TSN; for clips of one frame it is the plain image
            classifier); above 0 the units of a recurrent layer over the frames.

    Shape:
        - clips: (N, in_channels, T, H, W) float, already normalized
        - output: (N, K) logits; labels are 0..K-1

    Raises:
        ValueError: an option of a named backbone beside a built one, a 3-D backbone, or a number out of its range.
        FileNotFoundError: there are no such weights.
    """

    def __init__(
        self,
        backbone: str | Backbone,
        num_classes: int,
        *,
        weights: str | None = None,
        norm: Norm | None = None,
        drop_rate: float = 0.5,
        hidden: int = 0,
    ) -> None:
        _check_numbers(num_classes, drop_rate)
        body = TSN(resolve_backbone(backbone, weights=weights, norm=norm))
        body.trim_for_classifier()
        channels = body.levels[-1].channels
        if hidden:
            head: nn.Module = RecurrentHead(channels, num_classes, drop_rate, hidden)
        else:
            head = AvgPoolHead(channels, num_classes, drop_rate)
        super().__init__(body, head)
        warm_start(self, weights)


# the lower-case names read like torchvision's constructors
video_classifier = VideoClassifier
frame_classifier = FrameClassifier


def _check_numbers(num_classes: int, drop_rate: float) -> None:
    """Raise a ValueError for a number of classes or a probability out of its range."""
    if num_classes < 1:
        raise ValueError(f"num_classes is {num_classes}; a classifier needs at least 1.")
    if not 0 <= drop_rate < 1:
        raise ValueError(f"drop_rate is {drop_rate}; it is a probability, from 0 to below 1.")


def _own_key(key: str) -> str:
    """Return our key for one of a published network whose parts already have our names."""
    if key.startswith("fc."):  # torchvision's head
        return f"head.{key}"
    return key if key.startswith("head.") else f"backbone.{key}"

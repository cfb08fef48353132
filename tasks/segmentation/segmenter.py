"""A network for semantic segmentation: a backbone, a decoder, and a score for each class at each pixel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from vertebra.backbones import Backbone, Level, create_backbone
from vertebra.backbones.layers import Norm, conv
from vertebra.backbones.warm_start import warm_start, without_checkpoint
from vertebra.tasks.segmentation.fcn import FCNScores
from vertebra.tasks.segmentation.layers import conv_norm, resized

# levels of a backbone and a norm -> a module with `channels` that makes one map of the backbone's
Decoder = Callable[[Sequence[Level], Norm], nn.Module]


class Logits(NamedTuple):
    """What a network says in training.

    Attributes:
        main: (N, K, H, W) logits.
        aux: the same from the auxiliary head, or None where there is none.
    """

    main: Tensor
    aux: Tensor | None


class PixelHead(nn.Module):
    """Dropout of whole channels, and a linear layer at every pixel.

    Args:
        channels: of the map.
        num_classes: K.
        drop_rate: probability of dropping a channel in training.

    Shape:
        (N, channels, H, W) -> (N, K, H, W), logits
    """

    def __init__(self, channels: int, num_classes: int, drop_rate: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout2d(drop_rate)
        self.conv = conv(2, channels, num_classes, kernel_size=1, bias=True)
        nn.init.normal_(self.conv.weight, std=0.01)  # type: ignore[arg-type]
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.dropout(x))


class LevelDecoder(nn.Module):
    """One 3x3 convolution on one level, a quarter as wide: torchvision's FCN, and the auxiliary head of many others.

    Args:
        level: the map to look at.
        norm: see `BackboneOptions`.

    Shape:
        dict of maps -> (N, channels / 4, h, w)
    """

    def __init__(self, level: Level, norm: Norm = "batch") -> None:
        super().__init__()
        self.level = level.name
        self.channels = max(1, level.channels // 4)
        self.fuse = conv_norm(level.channels, self.channels, norm=norm)

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        return self.fuse(features[self.level])


class Segmenter(nn.Module):
    """A backbone whose maps are decoded and classified pixel by pixel.

    Args:
        backbone: images to feature maps.
        decoder: the maps to one map.
        head: that map to logits.
        aux: maps to logits for a second loss that reaches the backbone by a shorter way; not used in evaluation.

    Shape:
        - images: (N, C, H, W) float, already normalized, of any size
        - output: (N, K, H, W) logits; label k is the k-th class, from 0 on

    Attributes:
        class_layers: layers whose size depends on the number of classes; see `vertebra.backbones.warm_start`.
    """

    class_layers = ("head", "aux.1", "decoder.scores")

    def __init__(self, backbone: Backbone, decoder: nn.Module, head: nn.Module, aux: nn.Module | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.decoder = decoder
        self.head = head
        self.aux = aux

    def forward(self, images: Tensor) -> Tensor:
        return resized(self.head(self.decoder(self.backbone(images))), images.shape[2:])

    def all_logits(self, images: Tensor) -> Logits:
        """Return the logits of both heads, for a training step."""
        features, size = self.backbone(images), images.shape[2:]
        main = resized(self.head(self.decoder(features)), size)
        return Logits(main, None if self.aux is None else resized(self.aux(features), size))


def assemble(
    decoder: Decoder,
    backbone: str | Backbone,
    num_classes: int,
    *,
    output_stride: int = 32,
    in_channels: int = 3,
    weights: str | None = None,
    norm: Norm = "batch",
    aux: bool = False,
    drop_rate: float = 0.1,
) -> Segmenter:
    """Put a decoder on a backbone.

    Args:
        decoder: makes the decoder.
        backbone: a registered name, or a 2-D backbone with any options.
        num_classes: K, the classes to tell apart; pixels that are ignored are none.
        output_stride: for a backbone given by name: reduction of its coarsest map, 32, 16 or 8. Families that cannot
            dilate say so, and take 32.
        in_channels: for a backbone given by name: channels of the images; `weights` are adapted to them.
        weights: for a backbone given by name: a path, or `pretrained`. A checkpoint of `vertebra fit` fills all of the
            network that fits, see `vertebra.backbones.warm_start`.
        norm: of the decoder, and of a backbone given by name: `batch`, `frozen`, `sync` or `group`.
        aux: an auxiliary head on the last level but one (C4).
        drop_rate: dropout in front of the last layer.

    Raises:
        ValueError: the backbone does not take images, or one of the numbers is none that can be.
    """
    if num_classes < 1 or num_classes > 255:
        raise ValueError(f"num_classes is {num_classes}; a mask of 8 bits tells 1 to 255 classes, and 255 is ignored.")
    if isinstance(backbone, str):
        of_backbone = without_checkpoint(weights)
        backbone = create_backbone(
            backbone, in_channels=in_channels, output_stride=output_stride, norm=norm, weights=of_backbone
        )
    levels = backbone.levels
    if not isinstance(levels[-1].reduction, int):
        raise ValueError(
            f"the backbone reduces {len(levels[-1].reduction)} axes (level {levels[-1].name}: "
            f"{levels[-1].reduction}), but an image has height and width; take a 2-D backbone."
        )
    body = decoder(levels, norm)
    second = None
    if aux:
        aside = LevelDecoder(levels[max(0, len(levels) - 2)], norm)
        second = nn.Sequential(aside, PixelHead(aside.channels, num_classes, drop_rate))
    scored = isinstance(body, FCNScores)  # which makes logits itself
    head = nn.Identity() if scored else PixelHead(body.channels, num_classes, drop_rate)  # type: ignore[arg-type]
    return warm_start(Segmenter(backbone, body, head, second), weights)

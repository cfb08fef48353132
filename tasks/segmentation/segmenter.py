"""Base of the semantic segmentation networks: a backbone, a decoder, and a linear layer at every pixel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, NamedTuple

from torch import Tensor, nn

from vertebra.backbones import Backbone, Level
from vertebra.backbones.conventions import Renames, rename_keys
from vertebra.backbones.layers import Norm, conv
from vertebra.backbones.resolve import resolve_backbone
from vertebra.backbones.warm_start import warm_start
from vertebra.tasks.segmentation.layers import conv_norm, resized

# a backbone's levels and a norm -> a module that fuses the backbone's maps into one of `channels` channels
Decoder = Callable[[Sequence[Level], Norm], nn.Module]


class Logits(NamedTuple):
    """Logits of the main and of the auxiliary head.

    Attributes:
        main: (N, K, H, W) logits.
        aux: the same from the auxiliary head, or None where there is none.
    """

    main: Tensor
    aux: Tensor | None


class PixelHead(nn.Module):
    """Classification head: channel dropout, and a linear layer at every pixel.

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
    """Decoder of one level by one 3x3 convolution with a quarter of its channels, as in torchvision's FCN.

    Args:
        level: the map to decode.
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
    """Base of the segmentation networks: the backbone's maps are decoded into one, which is classified pixel by pixel.

    A network is a subclass that passes its decoder on, with peers' names of its keys under `renames`.

    Args:
        backbone: a registered name, or a 2-D backbone with any options.
        num_classes: K, the classes, not counting the ignored pixels.
        decoder: builds the decoder.
        output_stride: of a named backbone: reduction of its coarsest map, 32, 16 or 8; the network's own if not given.
            Families without dilation refuse all but 32.
        in_channels: of a named backbone: channels of the images, 3 if not given; `weights` are adapted to them.
        weights: of a named backbone: a path, or `pretrained`. A checkpoint of `vertebra fit` fills all of the network
            that fits, see `vertebra.backbones.warm_start`.
        norm: of the decoder, and of a named backbone: `batch` (if not given), `frozen`, `sync` or `group`.
        aux: an auxiliary head on the level before the last (C4).
        drop_rate: dropout before the last layer, in 0..1; 0.1 if not given.

    Shape:
        - images: (N, in_channels, H, W) float, already normalized, of any size
        - output: (N, K, H, W) logits; labels are 0..K-1

    Attributes:
        class_layers: layers whose size depends on the number of classes; see `vertebra.backbones.warm_start`.
        renames: patterns of a peer's keys, and ours.
        default_output_stride: of a named backbone, where no other is given.
        decodes_logits: whether the decoder makes the logits, so that it has no norm and no head follows it.
        aux: the auxiliary head, for a second loss that reaches the backbone by a shorter path; not used in evaluation.

    Raises:
        ValueError: an option of a named backbone beside a built one, a 3-D backbone, or a number out of its range.
        FileNotFoundError: there are no such weights.
    """

    class_layers = ("head", "aux.1", "decoder.scores")
    renames: ClassVar[Renames] = ()
    default_output_stride: ClassVar[int] = 32
    decodes_logits: ClassVar[bool] = False

    def __init__(
        self,
        backbone: str | Backbone,
        num_classes: int,
        decoder: Decoder,
        *,
        output_stride: int | None = None,
        in_channels: int | None = None,
        weights: str | None = None,
        norm: Norm | None = None,
        aux: bool = False,
        drop_rate: float | None = None,
    ) -> None:
        super().__init__()
        if num_classes < 1 or num_classes > 255:
            raise ValueError(
                f"num_classes is {num_classes}; an 8-bit mask holds 1 to 255 classes, beside 255 for ignored pixels."
            )
        has_head = aux or not self.decodes_logits
        if drop_rate is not None and not has_head:
            raise ValueError(
                f"drop_rate={drop_rate} would have no effect: a {type(self).__name__} without an auxiliary head has no "
                "dropout; leave it out, or take aux=True."
            )
        self.backbone = resolve_backbone(
            backbone,
            output_stride=output_stride,
            in_channels=in_channels,
            weights=weights,
            norm=None if has_head and not isinstance(backbone, str) else norm,  # a built backbone's heads use it
            defaults={"output_stride": self.default_output_stride},
        )
        norm, drop_rate = norm or "batch", 0.1 if drop_rate is None else drop_rate
        levels = self.backbone.levels
        if not isinstance(levels[-1].reduction, int):
            raise ValueError(
                f"the backbone reduces {len(levels[-1].reduction)} axes (level {levels[-1].name}: "
                f"{levels[-1].reduction}), but an image has height and width; take a 2-D backbone."
            )
        self.decoder = decoder(levels, norm)
        second = None
        if aux:
            aside = LevelDecoder(levels[max(0, len(levels) - 2)], norm)
            second = nn.Sequential(aside, PixelHead(aside.channels, num_classes, drop_rate))
        width: int = self.decoder.channels  # type: ignore[assignment]
        self.head = nn.Identity() if self.decodes_logits else PixelHead(width, num_classes, drop_rate)
        self.aux = second
        warm_start(self, weights)

    def forward(self, images: Tensor) -> Tensor:
        return resized(self.head(self.decoder(self.backbone(images))), images.shape[2:])

    def all_logits(self, images: Tensor) -> Logits:
        """Return the logits of both heads, for a training step."""
        features, size = self.backbone(images), images.shape[2:]
        main = resized(self.head(self.decoder(features)), size)
        return Logits(main, None if self.aux is None else resized(self.aux(features), size))

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a state dict under this network's names, without an auxiliary head where this network has none."""
        state = rename_keys(state, self.renames)
        return {key: x for key, x in state.items() if self.aux is not None or not key.startswith("aux.")}

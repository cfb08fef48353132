"""Base class of semantic segmentation networks: backbone, decoder and pixel-wise classification head."""

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

# (backbone levels, norm) -> module that maps the feature dict to one map and has an attribute `channels`
Decoder = Callable[[Sequence[Level], Norm], nn.Module]


class Logits(NamedTuple):
    """Logits of the main and of the auxiliary head.

    Attributes:
        main: (N, K, H, W) logits.
        aux: (N, K, H, W) logits of the auxiliary head, or None without one.
    """

    main: Tensor
    aux: Tensor | None


class PixelHead(nn.Module):
    """Pixel-wise classification head: channel dropout and a 1x1 convolution.

    Args:
        channels: channels of the input map.
        num_classes: K.
        drop_rate: probability of dropping a channel in training.

    Shape:
        (N, channels, H, W) -> (N, K, H, W) logits
    """

    def __init__(self, channels: int, num_classes: int, drop_rate: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout2d(drop_rate)
        self.conv = conv(2, channels, num_classes, kernel_size=1, bias=True)
        # near-uniform initial probabilities whatever the scale of the decoder's output
        nn.init.normal_(self.conv.weight, std=0.01)  # type: ignore[arg-type]
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.dropout(x))


class LevelDecoder(nn.Module):
    """Single-level decoder: a 3x3 convolution to a quarter of the channels, as in torchvision's FCN.

    Args:
        level: level to decode.
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
    """Base class of segmentation networks: backbone, decoder, pixel-wise head and optional auxiliary head.

    A network is a subclass that passes its decoder and defines `renames` for checkpoints of other libraries.

    Args:
        backbone: name of a registered backbone, or a built 2-D backbone.
        num_classes: K, number of classes, not counting ignored pixels.
        decoder: builds the decoder from levels and norm.
        output_stride: reduction of a named backbone's coarsest map: 32, 16 or 8; by default `default_output_stride`.
            Families without dilation support 32 only.
        in_channels: image channels of a named backbone, by default 3; `weights` are adapted.
        weights: weights of a named backbone, a path or `pretrained`. From a checkpoint of `vertebra fit` all matching
            weights of the network are loaded, see `vertebra.backbones.warm_start`.
        norm: norm of the decoder and of a named backbone: `batch` (default), `frozen`, `sync` or `group`.
        aux: add an auxiliary head on the second-coarsest level (C4).
        drop_rate: dropout before the last layer, in 0..1, by default 0.1.

    Shape:
        - images: (N, in_channels, H, W) float, normalized, any size
        - output: (N, K, H, W) logits; labels are 0..K-1

    Attributes:
        class_layers: layers whose size depends on the number of classes; see `vertebra.backbones.warm_start`.
        renames: pairs of another library's key pattern and ours.
        default_output_stride: output stride of a named backbone unless given.
        decodes_logits: whether the decoder returns logits, so that it has no norm and no head follows.
        aux: auxiliary head for deep supervision of the backbone; not used in evaluation.

    Raises:
        ValueError: an option of a named backbone with a built one, a 3-D backbone, or a number out of range.
        FileNotFoundError: the weights do not exist.
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
                f"num_classes is {num_classes}; expected 1 to 255, since masks have 8 bits and 255 marks ignored "
                "pixels. Merge classes."
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
                f"{levels[-1].reduction}); expected 2, height and width. For images, take a 2-D backbone."
            )
        self.decoder = decoder(levels, norm)
        aux_head = None
        if aux:
            aux_decoder = LevelDecoder(levels[max(0, len(levels) - 2)], norm)
            aux_head = nn.Sequential(aux_decoder, PixelHead(aux_decoder.channels, num_classes, drop_rate))
        width: int = self.decoder.channels  # type: ignore[assignment]
        self.head = nn.Identity() if self.decodes_logits else PixelHead(width, num_classes, drop_rate)
        self.aux = aux_head
        warm_start(self, weights)  # last, when all layers that a checkpoint may fill exist

    def forward(self, images: Tensor) -> Tensor:
        return resized(self.head(self.decoder(self.backbone(images))), images.shape[2:])

    def all_logits(self, images: Tensor) -> Logits:
        """Return main and auxiliary logits, as the training loss needs them."""
        features, size = self.backbone(images), images.shape[2:]
        main = resized(self.head(self.decoder(features)), size)
        return Logits(main, None if self.aux is None else resized(self.aux(features), size))

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a state dict with this network's keys, dropping auxiliary-head weights if it has no such head."""
        state = rename_keys(state, self.renames)
        return {key: x for key, x in state.items() if self.aux is not None or not key.startswith("aux.")}

"""Base class of backbones: named feature maps from fine to coarse, with their channels and reductions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

from torch import Tensor, nn

from vertebra.backbones.conventions import own_names
from vertebra.backbones.layers import Norm


class Level(NamedTuple):
    """One feature map of a backbone or a neck.

    Attributes:
        name: `C2`..`C5` from a backbone, `P2`..`P7` from a neck.
        channels: number of channels of the map.
        reduction: input pixels to one pixel of the map: an int in 2-D, a (T, H, W) or (D, H, W) tuple in 3-D.
    """

    name: str
    channels: int
    reduction: int | tuple[int, int, int]


@dataclass(frozen=True)
class BackboneOptions:
    """Options of every backbone, whatever its family.

    Args:
        in_channels: channels of the input.
        output_stride: reduction of the coarsest map, 32, 16 or 8; below 32 the last stages dilate instead of striding.
        norm: `batch`, `frozen` (batch norm with fixed statistics and weights), `sync` (over processes) or `group`.
        out_levels: names of the maps that `forward` returns, or None for all that the network has.
        frozen_stages: number of stages, from the input on, that are frozen: 0 none, 1 the stem, 2 the stem and C2, ...
        zero_init: start the last norm of every residual block at zero, so that each block begins as its shortcut.
        drop_path_rate: probability of dropping the residual branch of the last block in training; it grows linearly
            with depth up to there (Deep Networks with Stochastic Depth, Huang et al. 2016,
            https://arxiv.org/abs/1603.09382).
        checkpointing: store only the input of each block in training, and recompute its activations in the backward
            pass: much less memory for a third more time (Training Deep Nets with Sublinear Memory Cost, Chen et al.
            2016, https://arxiv.org/abs/1604.06174). Names of maps, as `C2`, do so for the stages that end in them: the
            first ones have most of the memory.
    """

    in_channels: int = 3
    output_stride: int = 32
    norm: Norm = "batch"
    out_levels: Sequence[str] | None = None
    frozen_stages: int = 0
    zero_init: bool = False
    drop_path_rate: float = 0.0
    checkpointing: bool | Sequence[str] = False

    def __post_init__(self) -> None:
        if self.output_stride not in (8, 16, 32):
            raise ValueError(f"output_stride is {self.output_stride}; choose 8, 16 or 32.")
        if not 0 <= self.frozen_stages <= 5:
            raise ValueError(f"frozen_stages is {self.frozen_stages}; choose 0 (train all) to 5 (freeze all).")
        if not 0 <= self.drop_path_rate < 1:
            raise ValueError(f"drop_path_rate is {self.drop_path_rate}; it is a probability, from 0 to below 1.")
        if self.in_channels < 1:
            raise ValueError(f"in_channels is {self.in_channels}; an image has at least 1.")

    def require_only(self, network: str, *supported: str) -> None:
        """Refuse options that a network does not support.

        Args:
            network: its name, for the message.
            supported: names of the options that may differ from their defaults.

        Raises:
            ValueError: another one differs.
        """
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name not in supported and value != field.default:
                raise ValueError(
                    f"{field.name} is {value!r}, but {network} has no such option; leave it out, or take a ResNet."
                )


Normalization = tuple[tuple[float, ...], tuple[float, ...]]


class Backbone(nn.Module):
    """Base class: images, clips or volumes to a dict of named feature maps, fine to coarse.

    A subclass calls `choose_levels` and `freeze` once its submodules exist. Necks and heads read channels and
    reductions from `levels`, and never depend on the network's name.

    Attributes:
        name: that it was registered by; empty for one built by its class.
        levels: the maps that `forward` returns, in the same order.
        head_widths: channels of the hidden layers of the published classifier, before and after its pooling; None
            where a linear layer follows the pooling directly.
        normalization: mean and standard deviation of red, green and blue in 0..1 that the published weights of this
            network expect; None for ImageNet's.
    """

    name: str = ""
    normalization: Normalization | None = None

    def __init__(self) -> None:
        super().__init__()
        self.levels: tuple[Level, ...] = ()
        self.head_widths: tuple[int, int] | None = None
        self._frozen: tuple[str, ...] = ()

    def choose_levels(self, available: Sequence[Level], wanted: Sequence[str] | None) -> None:
        """Select the output levels.

        Args:
            available: all levels of the network, fine to coarse.
            wanted: names of those to return; None for all.

        Raises:
            ValueError: a wanted level is not available, or `wanted` is empty.
        """
        names = [level.name for level in available]
        wanted = names if wanted is None else wanted
        unknown = [name for name in wanted if name not in names]
        if unknown or not wanted:
            raise ValueError(
                f"out_levels is {list(wanted)}; choose from the levels of this network: {', '.join(names)}."
            )
        self.levels = tuple(level for level in available if level.name in wanted)

    def embed(self, images: Tensor) -> Tensor:
        """Return one vector for each input, for a classifier: the mean of the coarsest map, (N, C)."""
        x = self(images)[self.levels[-1].name]
        return x.mean(dim=tuple(range(2, x.dim())))

    @property
    def layers(self) -> list[list[str]] | None:
        """Names of the modules of each layer for layer-wise learning rates, from the input on; None for the children.

        What is in none of them counts as a part of the head.
        """
        return None

    def trim_for_classifier(self) -> None:
        """Remove parts that only serve maps on which neither the coarsest map nor `embed` depends; here none.

        They would have no gradient, which distributed training refuses.
        """

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return published weights under this network's names; unknown keys stay, for error messages."""
        return own_names(state)

    def freeze(self, *modules: str) -> None:
        """Freeze submodules by name: no gradients, and their norms stay in evaluation mode."""
        self._frozen = modules
        for name in modules:
            self.get_submodule(name).requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Backbone:
        super().train(mode)
        for name in self._frozen:
            self.get_submodule(name).eval()
        return self

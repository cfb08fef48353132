"""Image networks for clips: frame by frame (TSN), or with channels shifted between frames (TSM).

The names are `tsn:<name>` for any 2-D backbone, and `tsm:<name>` for any residual one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from vertebra.backbones.backbone import Backbone, BackboneOptions
from vertebra.backbones.registry import create_backbone, register_prefix
from vertebra.backbones.resnet import ResNet


class TSN(Backbone):
    """Temporal segment network: a 2-D backbone on every frame; the head pools over frames.

    Temporal Segment Networks, Wang et al. 2016, https://arxiv.org/abs/1608.00859. Weights of the 2-D network load.

    Args:
        body: a backbone for images.

    Shape:
        (N, C, T, H, W) -> dict of `level.name` to (N, level.channels, T, H / reduction, W / reduction)
    """

    def __init__(self, body: Backbone) -> None:
        super().__init__()
        if not all(isinstance(level.reduction, int) for level in body.levels):
            raise ValueError(
                f"the levels are {[tuple(level) for level in body.levels]}: this network takes clips already; use it "
                "as it is, or wrap a 2-D network."
            )
        self.body = body
        self.normalization = body.normalization
        self.levels = tuple(
            level._replace(reduction=(1, level.reduction, level.reduction))  # type: ignore[arg-type]
            for level in body.levels
        )

    def trim_for_classifier(self) -> None:
        self.body.trim_for_classifier()
        kept = {level.name for level in self.body.levels}
        self.levels = tuple(level for level in self.levels if level.name in kept)

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        state = {key.removeprefix("module.").removeprefix("body."): value for key, value in state.items()}
        of_body = self.body.state_dict().keys()
        # a classifier's keys keep their names, by which `load_weights` recognizes them
        return {f"body.{key}" if key in of_body else key: x for key, x in self.body.own_names(state).items()}

    def forward(self, clips: Tensor) -> dict[str, Tensor]:
        frames = clips.shape[2]
        features = self.body(clips.transpose(1, 2).flatten(0, 1))  # (N * T, C, H, W)
        return {name: x.unflatten(0, (-1, frames)).transpose(1, 2) for name, x in features.items()}


class TSM(TSN):
    """Temporal shift module: residual blocks in which some channels come from the previous and the next frame.

    TSM: Temporal Shift Module, Lin et al. 2019, https://arxiv.org/abs/1811.08383, bidirectional, inside
    the residual branch before its first convolution. It has no parameters: weights of the 2-D network load.

    Args:
        body: a residual network for images.
        shift: fraction of the channels shifted in each direction, in 0..0.5; 0 disables it at no cost.

    Shape:
        (N, C, T, H, W) -> dict of `level.name` to (N, level.channels, T, H / reduction, W / reduction)
    """

    def __init__(self, body: Backbone, shift: float = 1 / 8) -> None:
        super().__init__(body)
        if not isinstance(body, ResNet):
            raise ValueError(
                f"{type(body).__name__} has none of our residual blocks, in which TSM shifts channels; wrap a ResNet, "
                "or use TSN."
            )
        if not 0 <= shift <= 0.5:
            raise ValueError(f"shift is {shift}; it is a fraction of the channels for each direction, from 0 to 0.5.")
        self.shift = shift
        self.frames = 1
        for stage in body.stages if shift else ():
            for block in body.get_submodule(stage).children():
                block.get_submodule("conv1").register_forward_pre_hook(self._shift_input)

    def forward(self, clips: Tensor) -> dict[str, Tensor]:
        self.frames = clips.shape[2]
        return super().forward(clips)

    def _shift_input(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Tensor]:
        (x,) = args
        return (shift_channels(x, self.frames, int(x.shape[1] * self.shift)),)


def shift_channels(x: Tensor, frames: int, count: int) -> Tensor:
    """Shift `count` channels from the next frame and `count` from the previous one; zeros at the ends of the clip.

    Args:
        x: (N * frames, C, H, W), with the frames of a clip in a row.
        frames: of a clip.
        count: at most C / 2; the first `count` channels come from the next frame, the following from the previous one.

    Returns:
        (N * frames, C, H, W)
    """
    clips = x.unflatten(0, (-1, frames))
    following, previous, still = clips.split([count, count, clips.shape[2] - 2 * count], dim=2)
    following = torch.cat((following[:, 1:], torch.zeros_like(following[:, :1])), dim=1)
    previous = torch.cat((torch.zeros_like(previous[:, :1]), previous[:, :-1]), dim=1)
    return torch.cat((following, previous, still), dim=2).flatten(0, 1)


@register_prefix("tsn")
def tsn(name: str, options: BackboneOptions) -> TSN:
    """TSN of any 2-D backbone."""
    return TSN(create_backbone(name, **asdict(options)))


@register_prefix("tsm")
def tsm(name: str, options: BackboneOptions) -> TSM:
    """TSM of any residual 2-D backbone."""
    return TSM(create_backbone(name, **asdict(options)))

"""Inflation of 2-D weights into 3-D networks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from vertebra.backbones.backbone import Backbone


def inflate(
    state_2d: Mapping[str, Tensor], body_3d: Backbone, how: Literal["mean", "center"] = "mean"
) -> dict[str, Tensor]:
    """Inflate the weights of a 2-D network for a 3-D network of the same blocks.

    Quo Vadis, Action Recognition?, Carreira and Zisserman 2017, https://arxiv.org/abs/1705.07750. On a clip of
    one repeated frame the 3-D network then outputs the 2-D network's features: with `mean` where no kernel extends past
    the first or last frame, with `center` everywhere. Load the result with `load_weights(body_3d, ...)`.

    Args:
        state_2d: state dict of the 2-D network, under our names or those of a supported publisher.
        body_3d: the network to inflate for, which determines the kernel lengths; it is not changed.
        how: `mean` spreads a kernel evenly over its frames, `center` puts it into the middle frame with zeros around.

    Raises:
        ValueError: `how` is neither of the two.
    """
    if how not in ("mean", "center"):
        raise ValueError(f"how is {how!r}; choose mean or center.")
    own = body_3d.state_dict()
    state = body_3d.own_names(state_2d)
    return {
        key: _inflated(value, own[key].shape[2], how)
        if key in own and (value.dim(), own[key].dim()) == (4, 5)
        else value
        for key, value in state.items()
    }


def _inflated(weight: Tensor, frames: int, how: str) -> Tensor:
    """Inflate a kernel (out, in, H, W) to (out, in, frames, H, W)."""
    if how == "mean":
        return (weight / frames)[:, :, None].repeat(1, 1, frames, 1, 1)
    kernel = torch.zeros(*weight.shape[:2], frames, *weight.shape[2:], dtype=weight.dtype, device=weight.device)
    kernel[:, :, frames // 2] = weight
    return kernel

"""Necks: feature pyramids with the same number of channels at every level.

All have the constructor `Neck(levels, channels, extra, norm)` and the attribute `levels`, and map a dict of feature
maps to another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from vertebra.backbones.backbone import Level
from vertebra.backbones.bifpn import BiFPN
from vertebra.backbones.fpn import FPN
from vertebra.backbones.layers import Norm
from vertebra.backbones.pafpn import PAFPN
from vertebra.backbones.pyramid import Extra

NeckName = Literal["fpn", "pafpn", "bifpn"]

_NECKS: dict[str, type[FPN | PAFPN | BiFPN]] = {"fpn": FPN, "pafpn": PAFPN, "bifpn": BiFPN}

__all__ = ["FPN", "PAFPN", "BiFPN", "NeckName", "create_neck"]


def create_neck(
    name: NeckName,
    levels: Sequence[Level],
    channels: int = 256,
    extra: Extra | None = None,
    norm: Norm | None = None,
) -> FPN | PAFPN | BiFPN:
    """Build a neck by name; the other arguments are those of each neck (see `FPN`).

    Raises:
        ValueError: there is no such neck, or it refuses an argument.
    """
    if name not in _NECKS:
        raise ValueError(f"unknown neck {name!r}; choose {', '.join(_NECKS)}.")
    return _NECKS[name](levels, channels, extra, norm)

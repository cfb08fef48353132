"""A task's backbone argument: a registered name with options, or a backbone that is built already."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any

from vertebra.backbones.backbone import Backbone
from vertebra.backbones.inflate import inflate
from vertebra.backbones.registry import create_backbone
from vertebra.backbones.warm_start import without_networks
from vertebra.backbones.weights import backbone_state_dict, load_weights


def resolve_backbone(
    backbone: str | Backbone,
    *,
    weights: str | PathLike[str] | None = None,
    inflate_from: str | PathLike[str] | None = None,
    defaults: Mapping[str, Any] | None = None,
    **given: Any,
) -> Backbone:
    """Build a named backbone, or return the one passed in; no argument is ignored.

    Args:
        backbone: a registered name, or a backbone.
        weights: of a named backbone, as for `create_backbone`. Those of a whole network are left to `warm_start`, which
            fills all of it, and are the one kind of weights that a built backbone can have beside it.
        inflate_from: path of 2-D weights for a 3-D backbone, named or built; see `inflate`.
        defaults: options of the task for a named backbone, where they differ from those of `create_backbone`.
        given: options of `create_backbone` that the caller set; None for each that was not.

    Raises:
        ValueError: an option or weights beside a built backbone; both `weights` and `inflate_from`; `inflate_from` for
            a 2-D backbone; or what `create_backbone` refuses.
        FileNotFoundError: there are no such weights.
    """
    if weights is not None and inflate_from is not None:
        raise ValueError(
            f"weights is {str(weights)!r} and inflate_from is {str(inflate_from)!r}, but a backbone starts from one of "
            "them; leave the other out (on the command line: null)."
        )
    label = backbone if isinstance(backbone, str) else type(backbone).__name__
    published = without_networks(weights)
    options = {name: value for name, value in given.items() if value is not None}
    if isinstance(backbone, str):
        body = create_backbone(backbone, **{**(defaults or {}), **options, "weights": published})
    else:
        _refuse_options(label, options if published is None else {"weights": str(published), **options})
        body = backbone
    if inflate_from is not None:
        if isinstance(body.levels[-1].reduction, int):
            raise ValueError(
                f"inflate_from is {str(inflate_from)!r}, but {label} takes images; give it as weights, or take a 3-D "
                "backbone."
            )
        load_weights(body, inflate(backbone_state_dict(inflate_from), body), adapt=True)
    return body


def _refuse_options(label: str, options: Mapping[str, Any]) -> None:
    """Raise a ValueError where options are given for a backbone that is built already."""
    if not options:
        return
    listed = " and ".join(f"{name}={value!r}" for name, value in options.items())
    first = next(iter(options))
    raise ValueError(
        f"{listed} would have no effect: the backbone is a {label} that is built already. Set {', '.join(options)} "
        f"where it is built, and not beside it (on the command line --model.network.backbone.{first} VALUE and "
        f"--model.network.{first} null)."
    )

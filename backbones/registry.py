"""Registry of backbones: constructors by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatch
from os import PathLike

from vertebra.backbones.backbone import Backbone, BackboneOptions
from vertebra.backbones.cpu_convolutions import replace_convolutions
from vertebra.backbones.layers import Norm
from vertebra.backbones.normalization import published_normalization
from vertebra.backbones.weights import load_weights

Constructor = Callable[[BackboneOptions], Backbone]

_CONSTRUCTORS: dict[str, Constructor] = {}
_PREFIXES: dict[str, Callable[[str, BackboneOptions], Backbone]] = {}


def register(constructor: Constructor, name: str | None = None) -> Constructor:
    """Register a constructor under the function's name, or another; usable as a decorator.

    Raises:
        ValueError: the name is registered already.
    """
    name = name or constructor.__name__
    if name in _CONSTRUCTORS:
        raise ValueError(f"backbone {name!r} is registered already; give the function another name.")
    _CONSTRUCTORS[name] = constructor
    return constructor


def register_prefix(
    prefix: str,
) -> Callable[[Callable[[str, BackboneOptions], Backbone]], Callable[[str, BackboneOptions], Backbone]]:
    """Register a constructor for all names `prefix:name`; it takes the name and `BackboneOptions`."""

    def decorate(constructor: Callable[[str, BackboneOptions], Backbone]) -> Callable[[str, BackboneOptions], Backbone]:
        _PREFIXES[prefix] = constructor
        return constructor

    return decorate


def list_backbones(pattern: str = "*") -> list[str]:
    """Return the registered names that match a shell pattern, sorted: `list_backbones("resnet*")`."""
    return sorted(name for name in _CONSTRUCTORS if fnmatch(name, pattern))


def create_backbone(
    name: str,
    *,
    in_channels: int = 3,
    output_stride: int = 32,
    norm: Norm = "batch",
    out_levels: Sequence[str] | None = None,
    frozen_stages: int = 0,
    zero_init: bool = False,
    drop_path_rate: float = 0.0,
    checkpointing: bool | Sequence[str] = False,
    weights: str | PathLike[str] | None = None,
) -> Backbone:
    """Build a backbone by name.

    Args:
        name: one of `list_backbones()`, or a prefix and a name, such as `timm:convnext_tiny`.
        in_channels: channels of the input; pretrained first layers are adapted to it.
        output_stride: reduction of the coarsest map, 32, 16 or 8.
        norm: `batch`, `frozen`, `sync` or `group`.
        out_levels: names of the maps to return; all of the network's if not given.
        frozen_stages: number of stages, from the input on, that are frozen: 0 none, 1 the stem, 2 the stem and C2, ...
        zero_init: start the last norm of every residual block at zero.
        drop_path_rate: stochastic depth at the last block, growing linearly up to there; in 0..1.
        checkpointing: recompute activations in the backward pass: less memory, a third more time; or for some stages
            only, by the names of their maps, such as `C2`.
        weights: a path (.pth, .safetensors), `pretrained`, or the name of published weights (see `load_weights`).

    Raises:
        ValueError: an unknown name, an option that the family does not support, or weights that do not fit.
        FileNotFoundError: the weights are not on this machine and cannot be downloaded.
    """
    options = BackboneOptions(
        in_channels=in_channels,
        output_stride=output_stride,
        norm=norm,
        out_levels=out_levels,
        frozen_stages=frozen_stages,
        zero_init=zero_init,
        drop_path_rate=drop_path_rate,
        checkpointing=checkpointing,
    )
    prefix, colon, rest = name.partition(":")
    if colon and prefix in _PREFIXES:
        backbone = _PREFIXES[prefix](rest, options)
    elif name in _CONSTRUCTORS:
        backbone = _CONSTRUCTORS[name](options)
    else:
        close = get_close_matches(name, _CONSTRUCTORS, n=4, cutoff=0.5)
        near = f"; close names: {', '.join(close)}" if close else ""
        raise ValueError(f"unknown backbone {name!r}{near}. All: vertebra backbones.")
    backbone.name = name
    if backbone.normalization is None:
        backbone.normalization = published_normalization(name)
    replace_convolutions(backbone)  # constructors of users and timm use PyTorch's own
    if weights is not None:
        load_weights(backbone, weights, name=name, adapt=True)
    return backbone

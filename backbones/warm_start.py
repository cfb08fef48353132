"""Initialization from the weights of a whole network: with other classes, of another task, or a peer's."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TypeVar

from torch import Tensor, nn

from vertebra.backbones.backbone import Backbone
from vertebra.backbones.fpn import FPN
from vertebra.backbones.keras_files import SUFFIXES as KERAS_SUFFIXES
from vertebra.backbones.pretrained import is_of_a_network, published_state_dict
from vertebra.backbones.weight_files import open_saved, read_state_dict, unwrapped
from vertebra.backbones.weights import BACKBONE, NETWORK, adapt_first_layer, fill

_log = logging.getLogger(__name__)

# prefixes of keys in the file of a whole network: of `vertebra fit`, of torchvision and ours, of transformers
_MARKS = (BACKBONE, "backbone.", "model.backbone.")

W = TypeVar("W", bound=str | PathLike[str] | None)
N = TypeVar("N", bound=nn.Module)


def without_networks(weights: W) -> W | None:
    """Return weights of a backbone, or None for those of a network, which `warm_start` loads into the whole of it."""
    return None if _of_a_network(weights) else weights


def warm_start(network: N, weights: str | PathLike[str] | None) -> N:
    """Load all matching weights of a whole network, log their number, and return the network.

    They come from a checkpoint of `vertebra fit`, a state dict of ours, or a peer's that the network renames. Weights
    of any other kind belong to the backbone and leave the network unchanged. Layers that differ keep their initial
    values: those whose size depends on the number of classes, which the network lists as `class_layers`; whole parts (a
    neck, a decoder, or those that the network lists as `optional_parts`, such as a mask branch) of only one of the two
    networks; and beside the backbone, all that does not fit where the networks are built of other modules, such as
    Faster R-CNN and RetinaNet. The first layer is adapted to the input channels, as for published weights.

    Args:
        network: a task's network with a submodule `backbone`.
        weights: a path; the name of published weights, of a whole network those of torchvision, such as
            `FasterRCNN_ResNet50_FPN_Weights.COCO_V1`; or None.

    Raises:
        FileNotFoundError: published weights are not on this machine and cannot be downloaded.
        ValueError: anything else differs, such as the width of a neck in one and the same network, or the backbone;
            nothing is loaded then.
    """
    if weights is None or not _of_a_network(weights):
        return network
    is_file = Path(weights).is_file()
    state = read_state_dict(weights) if is_file else published_state_dict(str(weights))
    if any(key.startswith(NETWORK) for key in state):
        state = {key.removeprefix(NETWORK): value for key, value in state.items() if key.startswith(NETWORK)}
    elif callable(rename := getattr(network, "own_names", None)):
        state = rename(state)
    state = _with_own_levels(network, _with_own_names(network, state))
    own = network.state_dict()
    adapt_first_layer(state, own)

    by_class = class_prefixes(network)
    part_of = partial(_part, optional=getattr(network, "optional_parts", ()))
    theirs, ours = ({part_of(key) for key in each if not key.startswith(by_class)} for each in (state, own))
    fits = {key for key in state if key in own and state[key].shape == own[key].shape}
    optional = {part for part in (*theirs, *ours) if part not in theirs or part not in ours}
    if _are_different(state, own, part_of, (*optional, *by_class)):
        optional |= (theirs | ours) - {"backbone"}
    new = [k for k in own if k not in fits and (k.startswith(by_class) or part_of(k) in optional)]
    unused = [k for k in state if k not in fits and (k.startswith(by_class) or part_of(k) in optional)]
    wanted = {key: value for key, value in state.items() if key not in unused} | {key: own[key] for key in new}
    try:
        fill(network, wanted, str(weights))
    except ValueError as error:
        raise ValueError(
            f"{error} To start from the backbone alone, give vertebra.tasks.training.named_backbone.NamedBackbone as "
            "the network's backbone, and the checkpoint as the weights of that."
        ) from error
    unlike = (theirs & ours) - {part_of(key) for key in fits}  # of both, and nothing of it fits
    fresh, left = _layers(new, state, part_of, unlike), _layers(unused, own, part_of, unlike)
    left = [layer for layer in left if layer not in fresh]
    origin = f"{weights}{_trained_classes(Path(weights)) if is_file else ''}"
    _log.info("%s", summary(origin, len(own) - len(new), len(own), fresh, left))
    return network


def _are_different(
    state: Iterable[str], own: Iterable[str], part_of: Callable[[str], str], ignored: Sequence[str]
) -> bool:
    """Return whether two networks are built of other modules beside the backbone, by two levels of their keys.

    Below, a layer that is missing is a damaged file, or an option of one and the same network.
    """

    def modules(keys: Iterable[str]) -> set[tuple[str, ...]]:
        others = (key for key in keys if part_of(key) not in ("backbone", *ignored))
        return {tuple(key.split(".")[:2]) for key in others if not key.startswith(tuple(ignored))}

    return modules(state) != modules(own)


def class_prefixes(network: nn.Module) -> tuple[str, ...]:
    """Return the prefixes of the keys of those layers whose size depends on the number of classes."""
    return tuple(f"{layer}." for layer in getattr(network, "class_layers", ()))


def summary(origin: str, loaded: int, total: int, new: list[str], unused: list[str]) -> str:
    """Return a line on how much of a network was loaded, with the names of the layers that were not."""
    rest = f"; not used: {_listed(unused)}" if unused else ""
    return f"{origin}: {loaded} of {total} tensors loaded; new: {_listed(new) if new else 'none'}{rest}"


def _of_a_network(weights: str | PathLike[str] | None) -> bool:
    """Return whether weights are of a whole network and not only of a backbone: by a file's keys, or by their name."""
    if weights is None:
        return False
    if not Path(weights).is_file():
        return is_of_a_network(str(weights))
    if Path(weights).suffix in KERAS_SUFFIXES:
        return False  # of a classifier, whose head `load_weights` of the network fills
    if Path(weights).suffix == ".safetensors":
        return any(key.startswith(_MARKS) for key in read_state_dict(weights))
    content = open_saved(weights)
    state = unwrapped(content)
    return isinstance(state, dict) and any(str(key).startswith(_MARKS) for key in state)


def _with_own_names(network: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a state with the backbone's keys under the names of this network's backbone (TSN has a prefix)."""
    body = network.get_submodule("backbone")
    if not isinstance(body, Backbone):
        return state
    theirs = {k.removeprefix("backbone."): x for k, x in state.items() if k.startswith("backbone.")}
    others = {k: x for k, x in state.items() if not k.startswith("backbone.")}
    return {f"backbone.{key}": x for key, x in body.own_names(theirs).items()} | others


def _with_own_levels(network: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a state with the levels of its pyramid under the names of this network's."""
    neck = getattr(network, "neck", None)
    if not isinstance(neck, FPN):
        return state
    theirs = {k.removeprefix("neck."): x for k, x in state.items() if k.startswith("neck.")}
    others = {k: x for k, x in state.items() if not k.startswith("neck.")}
    return {f"neck.{key}": x for key, x in neck.own_levels(theirs).items()} | others


def _part(key: str, optional: Sequence[str]) -> str:
    """Return the part of a network that a key is of: one of those that may be absent, or else the first module."""
    return next((part for part in optional if key.startswith(f"{part}.")), key.partition(".")[0])


def _layers(
    keys: Iterable[str], other: Iterable[str], part_of: Callable[[str], str], unlike: Collection[str]
) -> list[str]:
    """Return the layers of keys; whole parts by one name where they are `unlike`, or of this network alone."""
    shared = {part_of(key) for key in other if part_of(key) not in unlike}
    return list(dict.fromkeys(k.rpartition(".")[0] if part_of(k) in shared else part_of(k) for k in keys))


def _trained_classes(file: Path) -> str:
    """Return the classes that a checkpoint of `vertebra fit` was trained for, in parentheses."""
    names = None if file.suffix == ".safetensors" else open_saved(file).get("class_names")
    if isinstance(names, list) and all(isinstance(name, str) and name.isprintable() for name in names):
        return f" (classes {_listed(names)})"
    return ""


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(names[:8]) + more

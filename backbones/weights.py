"""Weights from files and from state dicts, loaded whole or refused with a reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path

from torch import Tensor, nn

from vertebra.backbones.backbone import Backbone
from vertebra.backbones.pretrained import is_published, published_state_dict
from vertebra.backbones.weight_files import read_state_dict

Weights = str | PathLike[str] | Mapping[str, Tensor]

# How a checkpoint of `vertebra fit` begins its keys.
NETWORK, BACKBONE = "network.", "network.backbone."
# What a classifier's checkpoint holds beside the backbone.
CLASSIFIER_KEYS = ("fc.", "classifier.", "head.", "linear.")


def backbone_state_dict(path: str | PathLike[str]) -> dict[str, Tensor]:
    """Read a state dict as `read_state_dict` does; of a checkpoint of `vertebra fit` the part of the backbone.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file holds no state dict.
    """
    state = read_state_dict(path)
    own = {key.removeprefix(BACKBONE): value for key, value in state.items() if key.startswith(BACKBONE)}
    if all(key.startswith("body.") for key in own):  # a network for images that saw clips frame by frame
        own = {key.removeprefix("body."): value for key, value in own.items()}
    return own or state


def network_state(source: Weights) -> tuple[dict[str, Tensor], str]:
    """Return the state dict of a task's network, and what an error is to call it.

    Args:
        source: a state dict, or a path as for `read_state_dict`; that of a training checkpoint has its keys without
            `network.`, as the network itself has them.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file holds no state dict.
    """
    if isinstance(source, Mapping):
        state, origin = dict(source), "the state dict"
    else:
        state, origin = read_state_dict(source), str(source)
    return {key.removeprefix(NETWORK): value for key, value in state.items()}, origin


def load_weights(
    backbone: Backbone, source: Weights, *, name: str | None = None, adapt: bool = False, ignore: Iterable[str] = ()
) -> None:
    """Load published or own weights into a backbone, all of them or none.

    Args:
        backbone: the network to fill.
        source: a path (.pth, .safetensors, or a checkpoint of `vertebra fit`, whose backbone is taken whatever the
            task); a state dict of torchvision's or timm's; the name of published weights, as
            timm (`resnet50.a1_in1k`) or torchvision (`ResNet50_Weights.IMAGENET1K_V2`) calls them; or `pretrained` for
            torchvision's newest, or timm's where torchvision has none.
        name: the backbone's registered name, which `pretrained` asks for.
        adapt: fit a first layer for another number of input channels: three colors are summed into one channel, or
            repeated over more and scaled by old / new, so that what comes out stays about as large.
        ignore: prefixes of keys in `source` that this network has no place for; those of a classifier always are.

    Raises:
        FileNotFoundError: the weights are neither on this machine nor to be downloaded.
        ValueError: keys are missing, unexpected or of another shape.
    """
    if isinstance(source, Mapping):
        origin, state = "the state dict", dict(source)
    elif str(source) == "pretrained":
        if name is None:
            raise ValueError("'pretrained' needs the backbone's name; use create_backbone(name, weights='pretrained').")
        origin, state = f"the published {name}", published_state_dict(name)
    elif not Path(source).is_file() and is_published(str(source)):
        origin, state = str(source), published_state_dict(str(source))
    else:
        origin, state = str(source), backbone_state_dict(source)

    own = backbone.state_dict()
    state = backbone.own_names(state)
    if adapt:
        adapt_first_layer(state, own)
    fill(backbone, state, origin, ignore=(*CLASSIFIER_KEYS, *ignore))


def fill(module: nn.Module, state: dict[str, Tensor], origin: str, ignore: tuple[str, ...] = ()) -> None:
    """Copy `state` into `module` if every key finds its place.

    Raises:
        ValueError: there are `differences`; all are named.
    """
    own = module.state_dict()
    if found := differences(own, state, origin, ignore):
        remedy = "build the network that the weights were made for"
        first = _first_convolution(own) if isinstance(module, Backbone) else None  # others cannot load with adapt
        if first and any(difference.startswith(f"{first} is ") for difference in found):
            remedy += ", or load with adapt=True to fit the first layer to the input channels"
        raise ValueError(f"{'; '.join(found)}. Nothing was loaded; {remedy}.")
    module.load_state_dict({key: value for key, value in state.items() if key in own}, strict=False)


def differences(
    own: Mapping[str, Tensor], state: Mapping[str, Tensor], origin: str, ignore: tuple[str, ...] = ()
) -> list[str]:
    """Return what keeps a state from being loaded: keys that are missing or unexpected, other shapes, other numbers.

    Args:
        own: state dict of the module to fill.
        state: of a file, or of another network.
        origin: what to call it.
        ignore: prefixes of keys that need no place.
    """
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    unexpected = [
        key
        for key in state
        if key not in own and not key.startswith(ignore) and not key.endswith("num_batches_tracked")
    ]
    reshaped = [
        f"{key} is {tuple(state[key].shape)} in {origin} but {tuple(own[key].shape)} in the model"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    reshaped += [
        f"{key} is {state[key].dtype} in {origin} but {own[key].dtype} in the model"
        for key in own
        if key in state and _numbers(state[key]) != _numbers(own[key]) and not key.endswith("num_batches_tracked")
    ]
    found = [*reshaped[:8]]
    if len(reshaped) > 8:
        found.append(f"{len(reshaped) - 8} more of another shape or type")
    for what, keys in (("missing from", missing), ("unexpected in", unexpected)):
        if keys:
            more = f" and {len(keys) - 8} more" if len(keys) > 8 else ""
            found.append(f"{what} {origin}: {', '.join(keys[:8])}{more}")
    return found


def _numbers(value: Tensor) -> tuple[bool, bool]:
    """Return whether numbers are real or complex; a copy from one kind into the other would be silent and wrong."""
    return value.is_floating_point(), value.is_complex()


def _first_convolution(own: Mapping[str, Tensor]) -> str | None:
    """Return the key of the convolution that sees the input: modules are made in the order in which they run."""
    return next((key for key, value in own.items() if value.dim() >= 4 and key.endswith("weight")), None)


def adapt_first_layer(state: dict[str, Tensor], own: dict[str, Tensor]) -> None:
    """Fit the convolutions in `state` that see the input to the input channels of `own`.

    There may be several, as in the two paths of SlowFast: all that differ as the first one does.
    """
    first = _first_convolution(own)
    if first is None or first not in state:
        return
    old, new = state[first].shape[1], own[first].shape[1]
    for key, value in own.items():
        if (
            old != new
            and key in state
            and state[key].dim() >= 4
            and (state[key].shape[1], value.shape[1]) == (old, new)
            and (state[key].shape[:1], state[key].shape[2:]) == (value.shape[:1], value.shape[2:])
        ):
            state[key] = _with_input_channels(state[key], new)


def _with_input_channels(weight: Tensor, channels: int) -> Tensor:
    """Sum the colors of a convolution into one channel, or repeat them over more and scale by old / new."""
    if channels == 1:
        return weight.sum(dim=1, keepdim=True)
    repeats = -(-channels // weight.shape[1])
    repeated = weight.repeat(1, repeats, *(1,) * (weight.dim() - 2))[:, :channels]
    return repeated * (weight.shape[1] / channels)

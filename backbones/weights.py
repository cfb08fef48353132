"""Loading of weights into backbones: complete, or refused with a list of differences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path

from torch import Tensor, nn

from vertebra.backbones.backbone import Backbone
from vertebra.backbones.pretrained import is_published, published_state_dict
from vertebra.backbones.weight_files import read_state_dict

Weights = str | PathLike[str] | Mapping[str, Tensor]

# prefixes of keys in a checkpoint of `vertebra fit`
NETWORK, BACKBONE = "network.", "network.backbone."
# keys of a classifier's head, which a backbone does not have
CLASSIFIER_KEYS = ("fc.", "classifier.", "head.", "linear.")
_LISTED = 3  # differences of a kind in a message


def backbone_state_dict(path: str | PathLike[str]) -> dict[str, Tensor]:
    """Read a state dict as `read_state_dict`; of a checkpoint of `vertebra fit` only the backbone.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file holds no state dict.
    """
    state = read_state_dict(path)
    own = {key.removeprefix(BACKBONE): value for key, value in state.items() if key.startswith(BACKBONE)}
    if all(key.startswith("body.") for key in own):  # of TSN or TSM
        own = {key.removeprefix("body."): value for key, value in own.items()}
    return own or state


def network_state(source: Weights) -> tuple[dict[str, Tensor], str]:
    """Return the state dict of a task's network, and its name for error messages.

    Args:
        source: a state dict, or a path as for `read_state_dict`; of a training checkpoint the prefix `network.` is
            removed from the keys.

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
    """Load weights into a backbone: all of them or none.

    Args:
        backbone: the network to fill.
        source: a path (.pth, .safetensors, or a checkpoint of `vertebra fit` of any task, whose backbone is taken); a
            state dict of ours or of a publisher; the name of published weights at timm (`resnet50.a1_in1k`) or
            torchvision (`ResNet50_Weights.IMAGENET1K_V2`); or `pretrained` for torchvision's newest, or timm's where
            torchvision has none.
        name: the backbone's registered name, required for `pretrained`.
        adapt: adapt the first layer to the input channels: three colors are summed into one, or repeated over more and
            scaled by old / new, which keeps the magnitude of the output.
        ignore: prefixes of keys in `source` to ignore; those of a classifier's head always are.

    Raises:
        FileNotFoundError: the weights are not on this machine and cannot be downloaded.
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
    """Copy `state` into `module` if there are no `differences`.

    Raises:
        ValueError: keys are missing, unexpected, or of another shape or type; the message lists the first of each kind.
    """
    own = module.state_dict()
    if found := differences(own, state, origin, ignore):
        remedy = "build the network that the weights were made for"
        first = _first_convolution(own) if isinstance(module, Backbone) else None  # only backbones load with adapt
        if first and any(difference.startswith(f"{first} is ") for difference in found):
            remedy += ", or load with adapt=True to fit the first layer to the input channels"
        raise ValueError(f"{'; '.join(found)}. Nothing was loaded; {remedy}.")
    module.load_state_dict({key: value for key, value in state.items() if key in own}, strict=False)


def differences(
    own: Mapping[str, Tensor], state: Mapping[str, Tensor], origin: str, ignore: tuple[str, ...] = ()
) -> list[str]:
    """Return the differences that prevent loading: keys missing or unexpected, other shapes, other types.

    Args:
        own: state dict of the module to fill.
        state: of a file, or of another network.
        origin: name of `state` in messages.
        ignore: prefixes of keys to ignore.
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
        if key in state and _kind(state[key]) != _kind(own[key]) and not key.endswith("num_batches_tracked")
    ]
    found = [*reshaped[:_LISTED]]
    if len(reshaped) > _LISTED:
        found.append(f"{len(reshaped) - _LISTED} more of another shape or type")
    for what, keys in (("missing from", missing), ("unexpected in", unexpected)):
        if keys:
            more = f" and {len(keys) - _LISTED} more" if len(keys) > _LISTED else ""
            found.append(f"{what} {origin}: {', '.join(keys[:_LISTED])}{more}")
    return found


def _kind(value: Tensor) -> tuple[bool, bool]:
    """Return (is floating point, is complex); a copy between kinds would silently change values."""
    return value.is_floating_point(), value.is_complex()


def _first_convolution(own: Mapping[str, Tensor]) -> str | None:
    """Return the key of the first convolution; modules are registered in the order in which they run."""
    return next((key for key, value in own.items() if value.dim() >= 4 and key.endswith("weight")), None)


def adapt_first_layer(state: dict[str, Tensor], own: dict[str, Tensor]) -> None:
    """Adapt the input convolutions in `state` to the input channels of `own`, in place.

    There may be several, as in the two pathways of SlowFast: all whose input channels differ as in the first.
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
            state[key] = _convert_input_channels(state[key], new)


def _convert_input_channels(weight: Tensor, channels: int) -> Tensor:
    """Sum the colors of a kernel into one channel, or repeat them over more and scale by old / new."""
    if channels == 1:
        return weight.sum(dim=1, keepdim=True)
    repeats = -(-channels // weight.shape[1])
    repeated = weight.repeat(1, repeats, *(1,) * (weight.dim() - 2))[:, :channels]
    return repeated * (weight.shape[1] / channels)

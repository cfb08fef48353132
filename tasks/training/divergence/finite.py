"""Finiteness checks of weights and gradients, and the error of a diverged run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

MAX_NAMES = 8  # files or tensors listed in a message, which stays readable with batches of hundreds


class Diverged(ValueError):
    """Training has produced non-finite values; the message names step, loss and batch."""


def max_abs(tensors: Iterable[Tensor]) -> Tensor:
    """Return the maximum absolute value, () on the device of the first tensor, without synchronization.

    It is finite if and only if all values are. A Euclidean norm is not: it may overflow while its terms do not.
    """
    floats = [x.detach() for x in tensors if x.is_floating_point() and x.numel()]
    if floats and all(type(x) is Tensor and x.device.type == "cpu" for x in floats):  # neither sharded nor fake
        # a tenth of the time: the norm is not vectorized on CPUs, and `aminmax` copies weights in channels_last
        return torch.stack([bound for x in floats for bound in (x.amin(), x.amax())]).abs().max()
    return get_total_norm(floats, float("inf"))


def named_weights(module: nn.Module) -> dict[str, Tensor]:
    """Return the parameters of a module and the running statistics of its norms by name."""
    statistics = (item for item in module.named_buffers() if item[0].endswith(("running_mean", "running_var")))
    return {**dict(module.named_parameters()), **dict(statistics)}


def nonfinite_names(tensors: Mapping[str, Tensor]) -> list[str]:
    """Return the names of tensors that contain NaN or infinity; synchronizes only once if all are finite."""
    floats = {name: x.detach() for name, x in tensors.items() if x.is_floating_point()}
    if not floats or bool(max_abs(floats.values()).isfinite()):
        return []
    return [name for name, x in floats.items() if not bool(x.isfinite().all())]


def nonfinite_message(names: Sequence[str], num_tensors: int, origin: str, remedy: str) -> str:
    """Return the error message about non-finite tensors.

    Args:
        names: names of the non-finite tensors; empty if they are on another process.
        num_tensors: number of all tensors.
        origin: where or when they were found.
        remedy: what to do.
    """
    which = f"{len(names)} of {num_tensors} tensors, the first is {names[0]}" if names else "on another process"
    what = "the optimizer state contains" if names and names[0].startswith("optimizer") else "the weights contain"
    return f"{origin}: {what} NaN or infinity ({which}); expected finite numbers. {remedy}"


def check_finite_weights(tensors: Mapping[str, Tensor], origin: str, remedy: str) -> None:
    """Raise if weights contain NaN or infinity.

    Args:
        tensors: weights by name.
        origin: where or when they were found, for the message.
        remedy: what to do, for the message.

    Raises:
        Diverged: a weight is not finite.
    """
    if names := nonfinite_names(tensors):
        raise Diverged(nonfinite_message(names, len(tensors), origin, remedy))


def join_names(names: Sequence[str]) -> str:
    """Join up to `MAX_NAMES` names, and count the others."""
    more = len(names) - MAX_NAMES
    return ", ".join(names[:MAX_NAMES]) + (f" and {more} more" if more > 0 else "")

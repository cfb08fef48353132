"""Finiteness of weights and gradients, and the error of a training that lost it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor, nn
from torch.nn.utils import get_total_norm

NUM_NAMED = 8  # files or tensors in a sentence; the rest are counted


class Diverged(ValueError):
    """Training that produced numbers that are not finite; the message names step, loss and batch."""


def largest(tensors: Iterable[Tensor]) -> Tensor:
    """Return the largest absolute value, () on the device of the first tensor: finite if and only if all are.

    The host does not wait for it. A Euclidean norm would not do, since it overflows where its terms do not.
    """
    return get_total_norm([x for x in tensors if x.is_floating_point()], float("inf"))


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    """Return the parameters of a module and the running statistics of its norms, by name."""
    statistics = (item for item in module.named_buffers() if item[0].endswith(("running_mean", "running_var")))
    return {**dict(module.named_parameters()), **dict(statistics)}


def nonfinite_names(tensors: Mapping[str, Tensor]) -> list[str]:
    """Return the names of the tensors that hold a NaN or an infinity; where there is none the host waits once."""
    floats = {name: x.detach() for name, x in tensors.items() if x.is_floating_point()}
    if not floats or bool(largest(floats.values()).isfinite()):
        return []
    return [name for name, x in floats.items() if not bool(x.isfinite().all())]


def nonfinite_state(names: Sequence[str], number: int, origin: str, remedy: str) -> str:
    """Return the message about tensors that hold a NaN or an infinity.

    Args:
        names: of those tensors; none where another process has them.
        number: of tensors in all.
        origin: when or where they were seen.
        remedy: what to do.
    """
    which = f"{len(names)} of {number} tensors, the first is {names[0]}" if names else "on another process"
    what = "the optimizer's state holds" if names and names[0].startswith("optimizer") else "the weights hold"
    return f"{origin}: {what} NaN or infinity ({which}); expected are finite numbers. {remedy}"


def refuse_nonfinite_weights(tensors: Mapping[str, Tensor], origin: str, remedy: str) -> None:
    """Raise where weights hold a NaN or an infinity.

    Args:
        tensors: by name.
        origin: when or where they were seen.
        remedy: what to do.

    Raises:
        Diverged: any is not finite.
    """
    if names := nonfinite_names(tensors):
        raise Diverged(nonfinite_state(names, len(tensors), origin, remedy))


def listed(names: Sequence[str]) -> str:
    """Return the first few names, and how many more there are."""
    more = len(names) - NUM_NAMED
    return ", ".join(names[:NUM_NAMED]) + (f" and {more} more" if more > 0 else "")

"""Names that other publishers give to the weights of our networks, and how they become ours (torchvision's)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor


class Convention(NamedTuple):
    """How one publisher calls the weights of one family.

    Attributes:
        publisher: and family, for error messages.
        mark: pattern of a key that only this convention has.
        renames: patterns and what to put in their place (as `re.sub` takes it), applied one after the other.
    """

    publisher: str
    mark: str
    renames: tuple[tuple[str, str | Callable[[re.Match], str]], ...]


CONVENTIONS = (
    Convention(
        "timm's pre-activation ResNets",
        r"stages\.0\.blocks\.0\.norm1\.weight",
        (
            (r"^stem\.conv\.", "conv1."),
            (r"^stem\.conv1\.", "conv1.0."),
            (r"^stem\.norm1\.", "conv1.1."),
            (r"^stem\.conv2\.", "conv1.3."),
            (r"^stem\.norm2\.", "conv1.4."),
            (r"^stem\.conv3\.", "conv1.6."),
            (r"^norm\.", "closing.0."),
            (r"\.norm(\d)\.", r".bn\1."),
            (r"\.downsample\.conv\.", ".downsample.1."),
            (r"^stages\.(\d)\.blocks\.", lambda match: f"layer{int(match[1]) + 1}."),
        ),
    ),
)


def own_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict with our names, whoever published it; names that are ours already stay."""
    state = {key.removeprefix("module."): value for key, value in state.items()}
    for convention in CONVENTIONS:
        if any(re.fullmatch(convention.mark, key) for key in state):
            return {_rename(key, convention): value for key, value in state.items()}
    return state


def _rename(key: str, convention: Convention) -> str:
    for pattern, replacement in convention.renames:
        key = re.sub(pattern, replacement, key)
    return key

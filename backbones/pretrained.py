"""Published ImageNet weights, through their publisher's own download and cache."""

from __future__ import annotations

from pathlib import Path
from urllib.error import URLError

import torch
from torch import Tensor


def published_state_dict(name: str) -> dict[str, Tensor]:
    """Return torchvision's newest weights for the network `name`, downloaded once into torch.hub's cache.

    Raises:
        ValueError: torchvision publishes no weights under this name.
        FileNotFoundError: the file is not in the cache and cannot be downloaded.
    """
    from torchvision.models import get_model_weights  # a second of imports that only this path needs

    try:
        weights = get_model_weights(name).DEFAULT
    except ValueError as error:
        raise ValueError(
            f"no published weights are known for {name!r}; give the path of a state dict: weights=PATH."
        ) from error
    try:
        return dict(weights.get_state_dict(progress=True, check_hash=True, weights_only=True))
    except (URLError, OSError) as error:
        file = weights.url.rsplit("/", 1)[-1]
        cache = Path(torch.hub.get_dir()) / "checkpoints"
        raise FileNotFoundError(
            f"{file} ({weights}) was looked for in {cache} and could not be downloaded ({error}). Fetch "
            f"{weights.url} on a machine with network and put it there, or give its path: weights=/path/to/{file}."
        ) from error

"""Tensors among images in memory, recognized without importing torch, which readers of files do not need."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np


def is_tensor(value: Any) -> bool:
    """Return whether a value is a torch tensor; there is none before torch has been imported."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def as_array(value: Any) -> np.ndarray:
    """Return a tensor of any device, or what NumPy can convert, as an array."""
    return value.detach().cpu().numpy() if is_tensor(value) else np.asarray(value)

"""Inputs of a prediction from Python: paths, and samples in memory under names of their own."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image


class Inputs(NamedTuple):
    """What is predicted on.

    Attributes:
        names: paths of files and folders, and names of samples in memory, in order.
        given: samples in memory by name.
    """

    names: list[str]
    given: dict[str, Any]


def named_inputs(inputs: Any, dims: tuple[int, ...]) -> Inputs:
    """Return inputs by name.

    Args:
        inputs: a path, a sample in memory (Pillow image, array, tensor, scan), an array or tensor with a batch of
            samples along its first axis, or an iterable of any of these.
        dims: numbers of dimensions that an array of one sample may have.

    Raises:
        ValueError: there is no input, or an array has another number of dimensions.
    """
    names: list[str] = []
    given: dict[str, Any] = {}
    for value in _samples(inputs, dims):
        if isinstance(value, str | os.PathLike):
            names.append(str(Path(value).expanduser()))
        else:
            names.append(f"input_{len(names) + 1}")
            given[names[-1]] = value
    if not names:
        raise ValueError("there is nothing to predict on; give a path, an image, an array, a tensor or a list of them.")
    return Inputs(names, given)


def _samples(inputs: Any, dims: tuple[int, ...]) -> Iterable[Any]:
    if isinstance(inputs, np.ndarray | torch.Tensor):
        if inputs.ndim in dims:
            yield inputs
        elif inputs.ndim == max(dims) + 1:
            yield from inputs
        else:
            wanted = " or ".join(map(str, dims))
            raise ValueError(
                f"the input is a {type(inputs).__name__} of shape {tuple(inputs.shape)}; expected {wanted} dimensions "
                f"for one sample, or {max(dims) + 1} for a batch. Reshape it, or give a list of samples."
            )
    # a scan is a named tuple, and a single sample
    elif isinstance(inputs, str | os.PathLike | Image.Image) or hasattr(inputs, "_fields"):
        yield inputs
    elif isinstance(inputs, Iterable):
        for one in inputs:
            yield from _samples(one, dims)
    else:
        raise ValueError(
            f"the input is a {type(inputs).__name__}; expected a path, a Pillow image, an array, a tensor or a list of "
            "them. Convert it to one of these."
        )

"""Lines and planes through the weights of a network: filter-normalized random directions, and those of a training.

Visualizing the Loss Landscape of Neural Nets, Li et al. 2018, https://arxiv.org/abs/1712.09913
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from vertebra.tools.analyses.progress import track

Direction = list[Tensor]  # one tensor for each parameter, of its shape


class Trajectory(NamedTuple):
    """Path of a training in the plane of its two principal directions.

    Attributes:
        directions: two of unit norm, over all parameters.
        coordinates: (P, 2) of the P points, relative to the last one.
        explained: (2,) share of the variance of the points along each direction.
    """

    directions: tuple[Direction, Direction]
    coordinates: np.ndarray
    explained: np.ndarray


def filter_normalized(parameters: Sequence[Tensor], generator: torch.Generator) -> Direction:
    """Draw a random direction in which each filter has the norm of the weight's own filter.

    A filter is a slice of the first axis: the kernel of one output channel, or the weights of one output. Parameters
    with one axis, which are biases and the weights of norms, do not move, as in the paper.

    Args:
        parameters: of the network.
        generator: of random numbers, on the CPU.
    """
    direction = []
    for parameter in parameters:
        drawn = torch.randn(parameter.shape, generator=generator).to(parameter)
        axes = tuple(range(1, parameter.dim()))
        if axes:
            norms = torch.linalg.vector_norm(parameter.detach(), dim=axes, keepdim=True)
            drawn *= norms / torch.linalg.vector_norm(drawn, dim=axes, keepdim=True).clamp(min=1e-12)
        direction.append(drawn if axes else torch.zeros_like(parameter))
    return direction


def principal_directions(points: Sequence[Sequence[Tensor]]) -> Trajectory:
    """Return the plane that holds most of the variance of the points of a training around its last one.

    Args:
        points: parameters at each of three or more moments, the last one at the end. Those with one axis are left out.

    Raises:
        ValueError: the points do not span a plane.
    """
    last = points[-1]
    rows = [_flat([a - b for a, b in zip(point, last, strict=True)]) for point in points[:-1]]
    differences = torch.stack(rows)  # (P - 1, N)
    # of the small Gram matrix: a decomposition of the differences themselves would take far more memory
    values, vectors = torch.linalg.eigh(differences @ differences.T)
    values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
    if len(values) < 2 or values[1] <= 1e-12 * values[0]:
        raise ValueError("the checkpoints lie on a line; three that differ are needed for a plane.")
    axes = (vectors[:, :2].T @ differences) / values[:2].sqrt()[:, None]  # (2, N), of unit norm
    coordinates = torch.cat([differences @ axes.T, torch.zeros(1, 2).to(axes)])
    directions = tuple(_like(axis, last) for axis in axes)
    explained = (values[:2] / values.sum()).cpu().numpy()
    return Trajectory((directions[0], directions[1]), coordinates.cpu().numpy(), explained)


def losses_at(
    parameters: Sequence[nn.Parameter],
    directions: Sequence[Direction],
    coordinates: np.ndarray,
    loss: Callable[[], float],
    text: str,
) -> np.ndarray:
    """Measure the loss at points of a line or plane through the parameters, and leave these as they were.

    Args:
        parameters: of the network.
        directions: D of them.
        coordinates: (P, D) of the points along the directions.
        loss: of the network as it is.
        text: what is done, for the progress bar.

    Returns:
        (P,) losses; NaN where the loss is not finite.
    """
    center = [parameter.detach().clone() for parameter in parameters]
    found = np.full(len(coordinates), np.nan)
    try:
        for index in track(range(len(coordinates)), text):
            _move(parameters, center, directions, coordinates[index].tolist())
            value = loss()
            found[index] = value if np.isfinite(value) else np.nan
    finally:
        _move(parameters, center, (), ())
    return found


@torch.no_grad()
def _move(
    parameters: Sequence[nn.Parameter],
    center: Sequence[Tensor],
    directions: Sequence[Direction],
    coordinates: Sequence[float],
) -> None:
    for index, (parameter, start) in enumerate(zip(parameters, center, strict=True)):
        parameter.copy_(start)
        for direction, coordinate in zip(directions, coordinates, strict=True):
            parameter.add_(direction[index], alpha=coordinate)


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().flatten().double() for tensor in tensors if tensor.dim() > 1])


def _like(flat: Tensor, parameters: Sequence[Tensor]) -> Direction:
    """Cut a flat vector into tensors of the shapes of the parameters; those with one axis are zero."""
    direction, start = [], 0
    for parameter in parameters:
        if parameter.dim() > 1:
            direction.append(flat[start : start + parameter.numel()].view(parameter.shape).to(parameter))
            start += parameter.numel()
        else:
            direction.append(torch.zeros_like(parameter))
    return direction

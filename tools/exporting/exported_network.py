"""Network as it is exported: with folded norms, and with or without the normalization of its input."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

from vertebra.backbones.folding import fold_norms
from vertebra.tasks.training.normalize import Normalize
from vertebra.tools.exporting.signature import Signature

T = TypeVar("T", bound=nn.Module)

_DETECTOR_LENGTHS = {"batch": 3, "height": 544, "width": 800}


class ExportedNetwork(nn.Module):
    """Normalization and network in one module.

    Args:
        network: takes normalized inputs.
        normalize: of uint8 inputs; None for a network that is given normalized ones.

    Shape:
        - inputs: uint8 (with normalization) or float32, images (N, C, H, W), clips (N, C, T, H, W) or any other input
          of the network
        - output: that of the network
    """

    def __init__(self, network: nn.Module, normalize: Normalize | None) -> None:
        super().__init__()
        self.network = network
        self.normalize = normalize

    def forward(self, inputs: Tensor) -> Tensor:
        if self.normalize is None:
            return self.network(inputs)
        return self.network(self.normalize(inputs) if inputs.dim() == 4 else self.normalize.clips(inputs))


def folded(network: T) -> T:
    """Return a copy of a network for inference: norms folded into convolutions, contiguous weights, no gradients."""
    copied = copy.deepcopy(network).eval()
    fold_norms(copied)
    for parameter in copied.parameters():
        parameter.data = parameter.data.to(memory_format=torch.contiguous_format).contiguous()
    return copied.requires_grad_(False)


def example_input(shape: tuple[int, ...], signature: Signature, dtype: torch.dtype) -> Tensor:
    """Return an input of zeros to trace a network with.

    Args:
        shape: of a real input.
        signature: of the network.
        dtype: of the input.
    """
    # two of each: a tracer takes an axis of length 1 for a fixed one, and likewise the coarsest level of a detector
    lengths = {"batch": 2, "count": 2, **(_DETECTOR_LENGTHS if signature.takes_sizes else {})}
    sizes = [lengths.get(axis or "", size) for size, axis in zip(shape, signature.axes, strict=True)]
    return torch.zeros(sizes, dtype=dtype)

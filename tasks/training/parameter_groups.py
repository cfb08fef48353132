"""Optimizer parameter groups: with and without weight decay, optionally with layer-wise learning rates."""

from __future__ import annotations

from typing import Any

from torch import nn

from vertebra.tasks.training.layers import layer_groups

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, nn.GroupNorm, nn.LayerNorm)


def parameter_groups(network: nn.Module, factors: tuple[float, float] | None = None) -> list[dict[str, Any]]:
    """Return the trainable parameters in groups with weight decay, and without it for norms and biases.

    Args:
        network: the network.
        factors: layer-wise learning rate decay and multiplier of the head, or None for a single learning rate. Each
            layer group gets two parameter groups with an `lr_factor`: the decay to the power of the distance from the
            head, or the multiplier for the head itself. Discriminative fine-tuning as in ULMFiT, Howard and Ruder 2018,
            https://arxiv.org/abs/1801.06146.
    """
    groups: list[dict[str, Any]] = []
    visited: set[int] = set()  # an optimizer refuses a shared parameter in two groups
    layers = [[network]] if factors is None else layer_groups(network)
    for index, layer in enumerate(layers):
        decay: list[nn.Parameter] = []
        no_decay: list[nn.Parameter] = []
        for module in (module for part in layer for module in part.modules()):
            for name, parameter in module.named_parameters(recurse=False):
                if parameter.requires_grad and id(parameter) not in visited:
                    visited.add(id(parameter))
                    # norms and biases do not overfit, and decaying the scale of a norm does not shrink the function
                    (no_decay if name == "bias" or isinstance(module, NORMS) else decay).append(parameter)
        depth = len(layers) - 1 - index  # distance from the head
        factor = {} if factors is None else {"lr_factor": factors[0] ** depth if depth else factors[1]}
        groups += [{"params": decay, **factor}, {"params": no_decay, "weight_decay": 0.0, **factor}]
    return [group for group in groups if group["params"]]

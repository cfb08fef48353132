"""Parameter groups of an optimizer: with and without weight decay, layer by layer."""

from __future__ import annotations

from typing import Any

from torch import nn

from vertebra.tasks.training.layers import layers_of

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, nn.GroupNorm, nn.LayerNorm)


def parameter_groups(network: nn.Module, factors: tuple[float, float] | None = None) -> list[dict[str, Any]]:
    """Return the trainable parameters in groups: those that decay, and norms and biases that do not.

    Args:
        network: whose parameters.
        factors: None takes the network as a whole. Otherwise a decay per layer and a factor for the head: there are two
            groups a layer, whose `lr_factor` is the decay to the power of the number of layers after it (discriminative
            fine-tuning, ULMFiT, Howard and Ruder 2018, https://arxiv.org/abs/1801.06146), and for the head its factor.
    """
    groups: list[dict[str, Any]] = []
    seen: set[int] = set()
    layers = [[network]] if factors is None else layers_of(network)
    for number, layer in enumerate(layers):
        decayed: list[nn.Parameter] = []
        kept: list[nn.Parameter] = []
        for module in (module for part in layer for module in part.modules()):
            for name, parameter in module.named_parameters(recurse=False):
                if parameter.requires_grad and id(parameter) not in seen:
                    seen.add(id(parameter))
                    (kept if name == "bias" or isinstance(module, NORMS) else decayed).append(parameter)
        after = len(layers) - 1 - number
        factor = {} if factors is None else {"lr_factor": factors[0] ** after if after else factors[1]}
        groups += [{"params": decayed, **factor}, {"params": kept, "weight_decay": 0.0, **factor}]
    return [group for group in groups if group["params"]]

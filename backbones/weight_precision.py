"""Weights in the precision of autocast, which otherwise casts them at every call."""

from __future__ import annotations

import torch
from torch import nn

from vertebra.backbones.cpu_convolutions import Conv2d, Conv3d

# exact types only: subclasses may do more with their weights
_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, Conv2d, Conv3d, nn.ConvTranspose2d)
_OF_TRAINER = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def round_weights(network: nn.Module, precision: str) -> None:
    """Store the weights of convolutions and linear layers as autocast casts them, in place, for inference.

    Under autocast the outputs stay the same, to the last bit. Without gradients it keeps no cast weights: on small
    images casting takes a fifth of the time of a detector, and a launch for every weight on a GPU.

    Args:
        network: a copy for inference under autocast; it cannot be trained, nor run without autocast.
        precision: of the trainer; anything but `bf16-mixed` and `16-mixed` changes nothing.
    """
    dtype = _OF_TRAINER.get(precision)
    for module in network.modules() if dtype else ():
        if type(module) in _LAYERS:
            for name, parameter in list(module.named_parameters(recurse=False)):
                setattr(module, name, nn.Parameter(parameter.detach().to(dtype), parameter.requires_grad))

"""Hinge loss of generative adversarial networks."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def discriminator_loss(real: Tensor, generated: Tensor) -> Tensor:
    """Return the hinge loss of the discriminator, () in 0 and above; 2 for scores of 0.

    Geometric GAN, Lim and Ye 2017, https://arxiv.org/abs/1705.02894.

    Args:
        real: (N,) scores of real images; those of 1 and above cost nothing.
        generated: (M,) scores of generated images; those of -1 and below cost nothing.
    """
    return F.relu(1 - real).mean() + F.relu(1 + generated).mean()


def generator_loss(generated: Tensor) -> Tensor:
    """Return the loss of the generator, (): the negative mean of the scores (N,) of its images."""
    return -generated.mean()

"""Gradient clipping under mixed precision, also with a fused optimizer."""

from __future__ import annotations

from lightning.pytorch import Trainer
from lightning.pytorch.plugins import MixedPrecision, Precision
from lightning.pytorch.utilities import GradClipAlgorithmType
from torch.optim import Optimizer


def clip_gradients(trainer: Trainer, optimizer: Optimizer, value: float, algorithm: str) -> None:
    """Clip the gradients of an optimizer in place.

    Args:
        trainer: trainer of the run, for its precision.
        optimizer: optimizer whose parameters have gradients.
        value: largest norm or absolute value; 0 does not clip.
        algorithm: `norm` or `value`.

    Raises:
        RuntimeError: the precision is fp16 and the optimizer is fused, so that the gradients are still scaled.
    """
    plugin = trainer.precision_plugin
    kind = GradClipAlgorithmType(algorithm)
    if isinstance(plugin, MixedPrecision) and plugin.scaler is None:
        # MixedPrecision refuses fused optimizers, which unscale within their step; in bf16 there is no scale
        Precision.clip_gradients(plugin, optimizer, value, kind)
    else:
        plugin.clip_gradients(optimizer, value, kind)

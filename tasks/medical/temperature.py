"""Temperature scaling: probabilities that are as sure as they are right."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

_LIMIT = 3.0  # of the logarithm of a temperature: 0.05 to 20
_STEPS = np.arange(-10, 11) / 10
_ROUNDS = 8  # each looks ten times closer


def calibrated_probs(logits: Tensor, exclusive: bool, temperature: float = 1.0) -> Tensor:
    """Return probabilities (N, K) float64 of logits (N, K) that are divided by a temperature.

    Args:
        logits: (N, K).
        exclusive: whether a study has one class (softmax), or any number of findings (sigmoid).
        temperature: above 0; above 1 makes less sure, below 1 surer.
    """
    logits = logits.double()
    if not exclusive:
        return (logits / temperature).sigmoid()
    # less the largest before the division, and not only within softmax: studies that were equally probable (16-bit
    # logits make many) stay so, and no rounding puts one above the other
    return ((logits - logits.max(dim=1, keepdim=True).values) / temperature).softmax(dim=1)


def log_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Return minus the logarithm of the probability of what is true, in nats, float64.

    Args:
        logits: (N, K).
        labels: (N,) int64 in 0..K-1, or (N, K) of 0, 1 and NaN for findings.

    Returns:
        (N,); or (N, K) for findings, NaN where nobody knows.
    """
    if labels.dim() == 1:
        return F.cross_entropy(logits.double(), labels, reduction="none")
    known = ~labels.isnan()
    losses = F.binary_cross_entropy_with_logits(logits.double(), labels.nan_to_num().double(), reduction="none")
    return torch.where(known, losses, torch.nan)


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """Fit the temperature that makes the labels most probable, on studies that the network was not trained on.

    On Calibration of Modern Neural Networks, Guo et al. 2017, https://arxiv.org/abs/1706.04599, section 4.2. Unlike
    there, the logarithm of the temperature has a standard normal prior, which together weighs as much as a study or
    two: it does not matter among many studies, and it keeps the temperature near 1 where they are few, or where the
    logits separate them without an error, so that the likelihood would rise without end as the temperature falls. As
    the prior is highest at 1, the negative log-likelihood never becomes higher than without a temperature.

    Args:
        logits: (N, K), finite.
        labels: as for `log_losses`.

    Returns:
        The temperature, between 0.05 and 20; 1 where there is no label.
    """
    best, reach = 0.0, _LIMIT
    for _ in range(_ROUNDS):
        exponents = np.clip(best + reach * _STEPS, -_LIMIT, _LIMIT)  # the best so far among them
        costs = [float(log_losses(logits.double() / math.exp(u), labels).nansum()) + u * u / 2 for u in exponents]
        best = float(exponents[np.argmin(costs)])
        reach /= 10
    return math.exp(best)

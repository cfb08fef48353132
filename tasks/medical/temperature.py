"""Temperature scaling: calibrated probabilities from logits."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

_MAX_LOG_TEMPERATURE = 3.0  # temperatures from 0.05 to 20
_GRID = np.arange(-10, 11) / 10  # relative search grid
_NUM_REFINEMENTS = 8  # each divides the grid spacing by ten: 3e-8 in the end


def calibrated_probs(logits: Tensor, exclusive: bool, temperature: float = 1.0) -> Tensor:
    """Return probabilities (N, K) float64 of logits divided by a temperature.

    Args:
        logits: (N, K).
        exclusive: softmax over exclusive classes if true, else a sigmoid per finding.
        temperature: above 0; above 1 lowers the confidence, below 1 raises it.
    """
    logits = logits.double()
    if not exclusive:
        return (logits / temperature).sigmoid()
    # subtract the maximum before the division, not only within softmax: ties between studies, frequent with 16-bit
    # logits, must remain ties, or rounding would change rankings and AUROC
    return ((logits - logits.max(dim=1, keepdim=True).values) / temperature).softmax(dim=1)


def negative_log_likelihood(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the negative log-likelihood of each label in nats, float64.

    Args:
        logits: (N, K).
        labels: (N,) int64 in 0..K-1, or (N, K) of 0, 1 and NaN for findings.

    Returns:
        (N,); or (N, K) for findings, NaN for unknown labels.
    """
    if labels.dim() == 1:
        return F.cross_entropy(logits.double(), labels, reduction="none")
    known = ~labels.isnan()
    losses = F.binary_cross_entropy_with_logits(logits.double(), labels.nan_to_num().double(), reduction="none")
    return torch.where(known, losses, torch.nan)


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """Fit the temperature by maximum a posteriori on held-out studies.

    On Calibration of Modern Neural Networks, Guo et al. 2017, https://arxiv.org/abs/1706.04599, section 4.2, which
    uses maximum likelihood. Here the logarithm of the temperature has a standard normal prior, worth one or two
    studies: negligible for many studies, it keeps the temperature near 1 for few, and for logits that separate the
    classes perfectly, where the likelihood increases without bound as the temperature falls. As the prior has its mode
    at 1, the negative log-likelihood is never higher than at temperature 1.

    Args:
        logits: (N, K), finite.
        labels: as for `negative_log_likelihood`.

    Returns:
        The temperature, between 0.05 and 20; 1 without labels.
    """
    # grid search with refinement: the problem is bounded and has one parameter
    best, radius = 0.0, _MAX_LOG_TEMPERATURE
    for _ in range(_NUM_REFINEMENTS):
        # the grid contains the best value so far, so the cost never increases
        grid = np.clip(best + radius * _GRID, -_MAX_LOG_TEMPERATURE, _MAX_LOG_TEMPERATURE)
        costs = [
            float(negative_log_likelihood(logits.double() / math.exp(u), labels).nansum()) + u * u / 2 for u in grid
        ]
        best = float(grid[np.argmin(costs)])
        radius /= 10
    return math.exp(best)

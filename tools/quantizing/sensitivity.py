"""Sensitivity of a network to int8 layers, and the choice of those that stay in float32."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple


class Effect(NamedTuple):
    """What a network loses with some of its layers in int8.

    Attributes:
        loss: of the metric, positive where int8 is worse; None without labels.
        deviation: of the outputs, see `vertebra.tools.exporting.comparison.Result`.
    """

    loss: float | None
    deviation: float


Measure = Callable[[Collection[str]], Effect]  # int8 layers -> effect


def rank(groups: Mapping[str, Sequence[str]], measure: Measure, by_loss: bool) -> dict[str, Effect]:
    """Return the effect of each group alone in int8, the largest first.

    Args:
        groups: group -> layers.
        measure: of the effect.
        by_loss: whether to rank by the metric; by the outputs where its steps are larger than the effect of a group.
    """
    effects = {group: measure(layers) for group, layers in groups.items()}

    def size(effect: Effect) -> tuple[float, float]:
        return (effect.loss if by_loss and effect.loss is not None else 0.0), effect.deviation

    return dict(sorted(effects.items(), key=lambda item: size(item[1]), reverse=True))


def keep_float(
    groups: Mapping[str, Sequence[str]], effects: Mapping[str, Effect], measure: Measure, tolerance: float
) -> list[str]:
    """Return the groups to keep in float32: the most sensitive ones, until the metric loses no more than is tolerated.

    Args:
        groups: group -> layers.
        effects: of `rank`, the largest first.
        measure: of the effect.
        tolerance: loss of the metric.

    Returns:
        Groups, the most sensitive first; all of them where nothing less is enough.
    """
    kept: list[str] = []
    for group in effects:
        kept.append(group)
        left = [layer for name, layers in groups.items() if name not in kept for layer in layers]
        loss = measure(left).loss if left else 0.0
        if loss is None or loss <= tolerance:
            break
    return kept

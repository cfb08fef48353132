"""Search space: depth, width, block, stem, kernel, squeeze-and-excitation and resolution under a budget."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

from vertebra.backbones.resnet_spelled import ResNetDesign
from vertebra.tools.backbones import count

SMALL_SIDE = 64  # pixels; up to there three stages, and a stem without stride is possible
_GROWTHS = (1.0, 1.5, 2.0)  # of widths from stage to stage; 2 is He et al.'s
_WIDTH_STEP, _MAX_WIDTH = 4, 1024
_LEAST = 0.25  # of the budget that a candidate has at least
_MAX_DEPTH = 5
_ATTEMPTS = 1000
_FIRST_WIDTH = 4  # to try, in units of the design


class Candidate(NamedTuple):
    """A network of the space at a resolution.

    Attributes:
        name: of the backbone, which spells its architecture.
        size: height and width of its input.
        macs: multiply-accumulates of the backbone for one image.
        parameters: of the backbone.
    """

    name: str
    size: int
    macs: int
    parameters: int


class Space:
    """All networks that can be drawn for images of a size, within a budget.

    Args:
        side: height and width of the images of the data, the largest resolution.
        budget: upper limit of multiply-accumulates for one image.
    """

    def __init__(self, side: int, budget: int) -> None:
        self.side = side
        self.budget = budget
        # multiples of four, so that stages can halve twice without a remainder
        self.sizes = sorted({max(8, round(side * share / 4) * 4) for share in (2 / 3, 5 / 6)} | {side})
        self.stages = 3 if side <= SMALL_SIDE else 4
        self.stems = ("small", "plain", "deep") if side <= SMALL_SIDE else ("plain", "deep")

    def draw(self, rng: random.Random) -> Candidate:
        """Draw a candidate of a quarter of the budget to all of it.

        Every part is drawn uniformly; then the width is the largest within a uniformly drawn number of operations.

        Raises:
            ValueError: none was found, since the budget is too small for these images.
        """
        for _ in range(_ATTEMPTS):
            target = self.budget * rng.uniform(_LEAST, 1)
            stem, block = rng.choice(self.stems), rng.choice(("basic", "bottleneck"))
            depths = tuple(rng.randint(1, _MAX_DEPTH) for _ in range(self.stages))
            growths = [rng.choice(_GROWTHS) for _ in range(self.stages - 1)]
            kernel, squeeze, size = rng.choice((3, 5)), rng.random() < 0.5, rng.choice(self.sizes)

            def design(base: int) -> ResNetDesign:
                widths = [float(base * _WIDTH_STEP)]
                for growth in growths:  # noqa: B023  called in this turn of the loop only
                    widths.append(widths[-1] * growth)
                rounded = tuple(round(width / _WIDTH_STEP) * _WIDTH_STEP for width in widths)
                return ResNetDesign(stem, block, depths, rounded, kernel, squeeze)  # noqa: B023

            found = widest(design, size, int(target), _MAX_WIDTH // _WIDTH_STEP)
            if found is not None and found.macs >= _LEAST * self.budget:
                return found
        raise ValueError(
            f"the budget of {self.budget:,} multiply-accumulates allows none of {_ATTEMPTS} drawn networks for "
            f"{self.side} x {self.side} pixels; give a larger --budget."
        )

    def handmade(self) -> Candidate:
        """Return the hand-made network, as wide as the budget allows: of ResNet-20's form, or of ResNet-18's if large.

        Raises:
            ValueError: the budget is too small for a width of one channel.
        """
        small = self.side <= SMALL_SIDE
        depths, stem = ((3, 3, 3), "small") if small else ((2, 2, 2, 2), "plain")

        def design(base: int) -> ResNetDesign:
            return ResNetDesign(stem, "basic", depths, tuple(base * 2**stage for stage in range(len(depths))))

        found = widest(design, self.side, self.budget, _MAX_WIDTH)
        if found is None:
            raise ValueError(
                f"the budget of {self.budget:,} multiply-accumulates is too small for {self.side} x {self.side} "
                "pixels; give a larger --budget."
            )
        return found


def widest(design: Callable[[int], ResNetDesign], size: int, budget: int, most: int) -> Candidate | None:
    """Return the network of the largest width within a budget, None where the smallest exceeds it.

    Args:
        design: architecture for a width of 1, 2, ..., whose operations grow with it.
        size: height and width of the input.
        budget: of multiply-accumulates.
        most: largest width.
    """
    found, fits, exceeds, width = None, 0, most + 1, min(_FIRST_WIDTH, most)
    while exceeds - fits > 1:
        candidate = measured(design(width), size)
        if candidate.macs <= budget:
            found, fits = candidate, width
        else:
            exceeds = width
        # most operations grow with the square of the width: bisection would count twice as often, in tens of ms each
        width = min(max(round(width * (budget / candidate.macs) ** 0.5), fits + 1), exceeds - 1)
    return found


def measured(design: ResNetDesign, size: int) -> Candidate:
    """Return a design with its cost, counted as `vertebra backbones` counts."""
    cost = count(design.name, (size, size))
    return Candidate(design.name, size, cost.macs, cost.parameters)

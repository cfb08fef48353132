"""Search space: depth, width, block, stem, kernel, squeeze-and-excitation and resolution under a limit."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from vertebra.backbones.resnet_spelled import ResNetDesign
from vertebra.tools.searching.candidate import Candidate, Limits
from vertebra.tools.searching.genes import LEAST, WIDTH_STEP, GenePool, Genes

SMALL_SIDE = 64  # pixels; up to there three stages, and a stem without stride is possible
_MAX_WIDTH = 1024
_ATTEMPTS, _MEASURED_ATTEMPTS = 1000, 100  # a latency takes tenths of a second; a budget rejects most before
_FIRST_WIDTH = 4  # to try, in units of the design
_CLOSE = 0.95  # of a limit of latency: repeated measurements differ by as much


class Space:
    """All networks that can be drawn for images of a size, within limits.

    Args:
        side: height and width of the images of the data, the largest resolution.
        limits: of every network.
        dense: whether networks have four stages and a stem with stride, which tasks other than classification need,
            also where images are small.
        resizes: whether the resolution may differ from that of the data.
    """

    def __init__(self, side: int, limits: Limits, dense: bool = False, resizes: bool = True) -> None:
        self.side = side
        self.limits = limits
        small = side <= SMALL_SIDE and not dense
        # multiples of four, so that stages can halve twice without a remainder
        sizes = sorted({max(8, round(side * share / 4) * 4) for share in (2 / 3, 5 / 6) if resizes} | {side})
        stems = ("small", "plain", "deep") if small else ("plain", "deep")
        self.pool = GenePool(stems, 3 if small else 4, tuple(sizes))

    def draw(self, rng: random.Random) -> Candidate:
        """Draw a candidate that uses from a quarter of the limit to all of it.

        Every part is drawn uniformly; then the width is the largest within a uniformly drawn share of the limit.

        Raises:
            ValueError: none was found, since the limit is too small for these images.
        """
        return self._first(lambda: self.pool.draw(rng))

    def child(self, parents: Sequence[Candidate], rng: random.Random) -> Candidate:
        """Return a candidate that differs in one gene from the only parent, or from a cross of the first two.

        It is within the limit as every candidate is: the width is the largest that is.

        Raises:
            ValueError: none was found.
        """
        genes = [self.pool.read(one.name, one.size, self.limits.share(one)) for one in parents]

        def mutant() -> Genes:
            return self.pool.mutate(genes[0] if len(genes) == 1 else self.pool.cross(genes[0], genes[1], rng), rng)

        return self._first(mutant)

    def handmade(self) -> Candidate:
        """Return the hand-made network, as wide as the limit allows: of ResNet-20's form, or of ResNet-18's if large.

        Raises:
            ValueError: the limit is too small for a width of one channel.
        """
        small = self.pool.stages == 3
        depths, stem = ((3, 3, 3), "small") if small else ((2, 2, 2, 2), "plain")

        def design(base: int) -> ResNetDesign:
            return ResNetDesign(stem, "basic", depths, tuple(base * 2**stage for stage in range(len(depths))))

        found = widest(design, self.side, self.limits, 1, _MAX_WIDTH)
        if found is None:
            raise ValueError(
                f"the {self.limits} is too small for {self.side} x {self.side} pixels; give a larger "
                f"{self.limits.flags}."
            )
        return found

    def _first(self, propose: Callable[[], Genes]) -> Candidate:
        """Return the first proposal that exists within the limit and uses at least the least share of it."""
        attempts = _MEASURED_ATTEMPTS if self.limits.budget is None else _ATTEMPTS
        for _ in range(attempts):
            genes = propose()
            found = widest(genes.design, genes.size, self.limits, genes.share, _MAX_WIDTH // WIDTH_STEP)
            if found is not None and self.limits.share(found) >= LEAST:
                return found
        raise ValueError(
            f"the {self.limits} allows none of {attempts} drawn networks for {self.side} x {self.side} pixels; give "
            f"a larger {self.limits.flags}."
        )


def widest(
    design: Callable[[int], ResNetDesign], size: int, limits: Limits, share: float, most: int
) -> Candidate | None:
    """Return the network of the largest width within a share of the limits, None where the smallest exceeds it.

    Args:
        design: architecture for a width of 1, 2, ..., whose cost grows with it.
        size: height and width of the input.
        limits: of the network.
        share: of the limits, up to 1; a limited latency need not be used up to the last twentieth.
        most: largest width.
    """
    found, fits, exceeds, width = None, 0, most + 1, min(_FIRST_WIDTH, most)
    while exceeds - fits > 1:
        candidate = limits.measured(design(width), size)
        used = limits.share(candidate)
        if used <= share:
            found, fits = candidate, width
            if limits.latency is not None and used >= _CLOSE * share:
                break
        else:
            exceeds = width
        # most operations grow with the square of the width: bisection would count twice as often, in tens of ms each
        width = min(max(round(width * (share / used) ** 0.5), fits + 1), exceeds - 1)
    return found

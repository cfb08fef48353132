"""What varies in a search: the parts of a network's name, its resolution, and how much of the limit it uses."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from vertebra.backbones.resnet_spelled import PREFIX, ResNetDesign

T = TypeVar("T")
LEAST = 0.25  # of the limit that a network uses at least
WIDTH_STEP = 4  # widths are multiples of it
_GROWTHS = (1.0, 1.5, 2.0)  # of widths from stage to stage; 2 is He et al.'s
_MAX_DEPTH = 5
_BLOCKS, _KERNELS = ("basic", "bottleneck"), (3, 5)


class Genes(NamedTuple):
    """A network but for its width, which is the largest within `share` of the limit.

    Attributes:
        share: of the limit, from `LEAST` to 1.
        stem: of the network.
        block: `basic` or `bottleneck`.
        depths: number of blocks in each stage.
        growths: of the width from each stage to the next.
        kernel: size of the blocks' 3x3 convolutions.
        squeeze: whether blocks end in squeeze-and-excitation.
        size: height and width of the input.
    """

    share: float
    stem: str
    block: str
    depths: tuple[int, ...]
    growths: tuple[float, ...]
    kernel: int
    squeeze: bool
    size: int

    def design(self, base: int) -> ResNetDesign:
        """Return the network whose first stage is `base` steps wide."""
        widths = [float(base * WIDTH_STEP)]
        for growth in self.growths:
            widths.append(widths[-1] * growth)
        rounded = tuple(round(width / WIDTH_STEP) * WIDTH_STEP for width in widths)
        return ResNetDesign(self.stem, self.block, self.depths, rounded, self.kernel, self.squeeze)


@dataclass(frozen=True)
class GenePool:
    """The values that genes may have.

    Attributes:
        stems: stems of the space.
        stages: number of stages of every network.
        sizes: resolutions.
    """

    stems: tuple[str, ...]
    stages: int
    sizes: tuple[int, ...]

    def text(self) -> str:
        """Return what differs from search to search, in words."""
        return f"{', '.join(self.stems)} stems, {self.stages} stages, {', '.join(map(str, self.sizes))} pixels"

    def draw(self, rng: random.Random) -> Genes:
        """Draw every gene uniformly."""
        return Genes(
            share=rng.uniform(LEAST, 1),
            stem=rng.choice(self.stems),
            block=rng.choice(_BLOCKS),
            depths=tuple(rng.randint(1, _MAX_DEPTH) for _ in range(self.stages)),
            growths=tuple(rng.choice(_GROWTHS) for _ in range(self.stages - 1)),
            kernel=rng.choice(_KERNELS),
            squeeze=rng.random() < 0.5,
            size=rng.choice(self.sizes),
        )

    def read(self, name: str, size: int, share: float) -> Genes:
        """Return the genes of a network of this pool by its spelled name, with the nearest growths to its widths."""
        design = ResNetDesign.parse(name.removeprefix(f"{PREFIX}:"))
        ratios = [after / before for before, after in zip(design.widths, design.widths[1:], strict=False)]
        growths = tuple(min(_GROWTHS, key=lambda growth: abs(growth - ratio)) for ratio in ratios)
        return Genes(share, design.stem, design.block, design.depths, growths, design.kernel, design.squeeze, size)

    def mutate(self, genes: Genes, rng: random.Random) -> Genes:
        """Return genes of which one has another value: a depth is one more or less, others are drawn."""
        mutations: dict[str, Callable[[], Any]] = {"share": lambda: rng.uniform(LEAST, 1)}
        for field, values in (("stem", self.stems), ("block", _BLOCKS), ("kernel", _KERNELS), ("size", self.sizes)):
            others = [value for value in values if value != getattr(genes, field)]
            if others:  # images of 8 pixels have one resolution
                mutations[field] = lambda others=others: rng.choice(others)  # type: ignore[misc]
        mutations["squeeze"] = lambda: not genes.squeeze
        mutations["depths"] = lambda: _with_another(genes.depths, _steps, rng)
        if genes.growths:
            mutations["growths"] = lambda: _with_another(genes.growths, lambda _: _GROWTHS, rng)
        field = rng.choice(sorted(mutations))
        return genes._replace(**{field: mutations[field]()})

    def cross(self, first: Genes, second: Genes, rng: random.Random) -> Genes:
        """Return genes each of which, and of depths and growths each number, is of one of two parents."""

        def either(one: Any, other: Any) -> Any:
            if isinstance(one, tuple):
                return tuple(map(either, one, other))
            return one if rng.random() < 0.5 else other

        return Genes(*map(either, first, second))


def _steps(depth: int) -> tuple[int, ...]:
    return tuple(number for number in (depth - 1, depth + 1) if 1 <= number <= _MAX_DEPTH)


def _with_another(values: tuple[T, ...], choices: Callable[[T], tuple[T, ...]], rng: random.Random) -> tuple[T, ...]:
    """Return values of which one is replaced by another of its choices; the same if it has no other."""
    place = rng.randrange(len(values))
    others = [value for value in choices(values[place]) if value != values[place]]
    return (*values[:place], rng.choice(others) if others else values[place], *values[place + 1 :])

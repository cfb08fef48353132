"""A network that a search may train, and the limits that it is within."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from vertebra.backbones.resnet_spelled import ResNetDesign
from vertebra.tools.backbones import count


class Candidate(NamedTuple):
    """A network of the space at a resolution.

    Attributes:
        name: of the backbone, which spells its architecture.
        size: height and width of its input.
        macs: multiply-accumulates of the backbone for one image.
        parameters: of the backbone.
        latency: of the backbone for one image in seconds, where that is limited.
    """

    name: str
    size: int
    macs: int
    parameters: int
    latency: float | None = None

    def cost(self) -> str:
        """Return operations and latency in words."""
        macs = f"{self.macs / 1e6:.1f} M"
        return macs if self.latency is None else f"{macs}, {self.latency * 1e3:.2f} ms"


@dataclass(frozen=True)
class Limits:
    """Upper limits of a backbone for one image.

    Attributes:
        budget: of multiply-accumulates; None for no such limit.
        latency: of seconds; None for no such limit.
        measure: returns the latency of a candidate; needed where that is limited.
    """

    budget: int | None
    latency: float | None = None
    measure: Callable[[Candidate], float] | None = None

    def measured(self, design: ResNetDesign, size: int) -> Candidate:
        """Return a design with its cost: operations as `vertebra backbones` counts, and the latency if it matters."""
        cost = count(design.name, (size, size))
        candidate = Candidate(design.name, size, cost.macs, cost.parameters)
        if self.measure is None or (self.budget is not None and cost.macs > self.budget):
            return candidate  # measuring takes a hundred times as long as counting
        return candidate._replace(latency=self.measure(candidate))

    def share(self, candidate: Candidate) -> float:
        """Return how much of the limit a candidate uses, of the stricter one if there are two; above 1 exceeds it."""
        shares = [candidate.macs / self.budget] if self.budget is not None else []
        if self.latency is not None and candidate.latency is not None:
            shares.append(candidate.latency / self.latency)
        return max(shares)

    def __str__(self) -> str:
        parts = [f"budget of {self.budget:,} multiply-accumulates"] if self.budget is not None else []
        parts += [f"latency of {self.latency * 1e3:g} ms"] if self.latency is not None else []
        return " and the ".join(parts)

    @property
    def flags(self) -> str:
        """Flags that set the limits, for messages."""
        given = {"--budget": self.budget, "--latency": self.latency}
        return " or ".join(flag for flag, value in given.items() if value is not None)

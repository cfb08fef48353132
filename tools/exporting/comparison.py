"""Comparison of an exported file with the eager network: outputs, decisions and metrics on real samples."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from tqdm import tqdm

from vertebra.tasks.segmentation.views import Views as SegmentationViews
from vertebra.tasks.segmentation.views import WholeImage
from vertebra.tasks.training.module import TaskModule

TOLERANCE = 1e-4  # of the largest difference, relative to the largest output; float32 sums in another order give 1e-6


@dataclass
class Comparison:
    """Differences between the outputs of two networks.

    Attributes:
        exclusive: whether a sample or pixel is of one class; otherwise each class is decided for itself.
        samples: number of samples.
        difference: largest absolute difference of two outputs.
        largest: largest absolute output of the eager network.
        agreement: part of the decisions that are equal, 0..1.
        shapes: of the inputs, each once.
        metrics: name -> metric of the eager network, and of the file; empty without labels.
    """

    exclusive: bool = True
    samples: int = 0
    difference: float = 0.0
    largest: float = 0.0
    agreement: float = 1.0
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    metrics: dict[str, tuple[float, float]] = field(default_factory=dict)
    _decisions: tuple[int, int] = (0, 0)  # equal, and all

    @property
    def deviation(self) -> float:
        """How far the outputs are apart: the largest difference, relative to the largest output."""
        return self.relative

    @property
    def relative(self) -> float:
        """The largest difference, relative to the largest output."""
        return self.difference / self.largest if self.largest else self.difference

    def empty(self) -> Comparison:
        """Return a comparison of the same kind without samples."""
        return Comparison(self.exclusive)

    def add(self, inputs: Tensor, eager: Tensor, exported: Tensor) -> None:
        """Compare the outputs (N, K, ...) for one input.

        Raises:
            ValueError: they differ in shape.
        """
        if eager.shape != exported.shape:
            raise ValueError(
                f"the file gives {tuple(exported.shape)} for an input of {tuple(inputs.shape)}, and the eager network "
                f"{tuple(eager.shape)}."
            )
        eager, exported = eager.float(), exported.float()
        difference = float((eager - exported).abs().max())
        # NaN in either is an infinite difference: comparisons with NaN are false
        self.difference = max(self.difference, difference if difference == difference else float("inf"))
        self.largest = max(self.largest, float(eager.abs().max()))
        decided = [x.argmax(dim=1) if self.exclusive else x > 0 for x in (eager, exported)]
        equal = decided[0] == decided[1]
        self._decisions = self._decisions[0] + int(equal.sum()), self._decisions[1] + equal.numel()
        self.agreement = self._decisions[0] / self._decisions[1]
        if tuple(inputs.shape) not in self.shapes:
            self.shapes.append(tuple(inputs.shape))

    def fault(self) -> str | None:
        """Return in what the outputs differ by more than is tolerated, or None."""
        if self.relative <= TOLERANCE:
            return None
        return (
            f"the outputs differ from those of the run by up to {self.difference:.3g} ({self.relative:.2g} of the "
            f"largest), {TOLERANCE:.0e} is tolerated"
        )

    def summary(self) -> str:
        """Return the comparison in a clause."""
        return (
            f"largest difference {self.difference:.2g} ({self.relative:.1g} of the largest output), "
            f"{self.agreement:.2%} of the decisions equal"
        )

    def record(self) -> dict[str, Any]:
        """Return the comparison as entries of `export.json`."""
        return {
            "largest_difference": self.difference,
            "relative_difference": self.relative,
            "tolerance": TOLERANCE,
            "agreement": self.agreement,
        }


class Result(Protocol):
    """A comparison of the outputs of two networks.

    Attributes:
        samples: number of samples.
        shapes: of the inputs, each once.
        metrics: name -> metric of the eager network, and of the file; empty without labels.
        deviation: how far the outputs are apart, 0 for equal ones.
    """

    samples: int
    shapes: list[tuple[int, ...]]
    metrics: dict[str, tuple[float, float]]

    @property
    def deviation(self) -> float: ...

    def empty(self) -> Result: ...

    def add(self, inputs: Any, eager: Any, exported: Any) -> None: ...

    def fault(self) -> str | None: ...

    def summary(self) -> str: ...

    def record(self) -> dict[str, Any]: ...


class Recorder(nn.Module):
    """Network that records what it is given and what it returns.

    Args:
        network: the network.
        takes_studies: whether it takes studies of several images, each without padding.

    Attributes:
        calls: input and output of each call.
    """

    def __init__(self, network: Callable[[Any], Any], takes_studies: bool = False) -> None:
        super().__init__()
        self._network = [network]  # in a list: neither a parameter nor a part
        self._takes_studies = takes_studies
        self.calls: list[tuple[Any, Any]] = []

    def forward(self, inputs: Any, counts: list[int] | None = None) -> Any:
        if self._takes_studies and counts is not None:
            # a file takes no counts; studies of different numbers of images go one at a time
            return torch.cat([self._call(one[None, :count]) for one, count in zip(inputs, counts, strict=True)])
        return self._call(inputs)

    def _call(self, inputs: Any) -> Any:
        output = self._network[0](inputs)
        self.calls.append((inputs, output))
        return output


class Pixels(nn.Module):
    """No normalization: images stay as they are."""

    def forward(self, images: Tensor, sizes: Tensor | None = None) -> Tensor:
        return images

    def clips(self, clips: Tensor) -> Tensor:
        """Return clips as they are."""
        return clips


def switch_off_extras(module: Any) -> None:
    """Switch off outputs that need more than the logits of a network: embeddings, and activation maps."""
    for name in ("embeddings", "explain"):
        if hasattr(module, name):
            setattr(module, name, False)


def prepared(module: TaskModule, normalizes: bool) -> Any:
    """Return a copy of a task's module for a comparison: one view of each sample, and its input as a file takes it.

    Args:
        module: the module.
        normalizes: whether the file normalizes its input.
    """
    copied: Any = copy.deepcopy(module).eval()
    switch_off_extras(copied)
    if hasattr(copied, "views"):
        copied.views = WholeImage() if isinstance(copied.views, SegmentationViews) else None
    if normalizes:
        copied.normalize = Pixels()
    return copied


@torch.inference_mode()
def first_input(module: Any, eager: nn.Module, batches: Iterable[Any]) -> Any:
    """Return what the network is given for the first samples that can be read.

    Args:
        module: of `prepared`.
        eager: the network.
        batches: of the task's data.

    Raises:
        ValueError: none can be read.
    """
    for batch in batches:
        module.network = recorder = Recorder(eager)
        module.predict_step(batch, 0)
        if recorder.calls:
            return recorder.calls[0][0]
    raise ValueError("no sample of the data set can be read; give others with --images PATH.")


@torch.inference_mode()
def compare(
    result: Result,
    module: Any,
    eager: nn.Module,
    exported: nn.Module,
    batches: Iterable[Any],
    labeled: bool,
    studies: bool = False,
) -> None:
    """Run two networks on the same samples.

    Args:
        result: to add to.
        module: of `prepared`.
        eager: the eager network.
        exported: the network of the file.
        batches: of the task's data.
        labeled: whether they have labels; then the metrics are compared too.
        studies: see `Recorder`.
    """
    unused = module.metric
    metrics = [copy.deepcopy(unused) for _ in range(2)]
    for index, batch in enumerate(tqdm(batches, delay=1, leave=False, desc="comparing")):
        recorders = [Recorder(network, studies) for network in (eager, exported)]
        for recorder, metric in zip(recorders, metrics, strict=True):
            module.network, module.metric = recorder, metric
            if labeled:
                module.validation_step(batch, index)
            else:
                module.predict_step(batch, index)
        for (inputs, output), (_, other) in zip(recorders[0].calls, recorders[1].calls, strict=True):
            result.add(inputs, output, other)
        result.samples += len(module.sample_names(batch))
    module.metric = unused  # for the next comparison
    if labeled and result.samples:
        # calibrated as a test split is: with what the run has fitted
        scores = [module.calibrate(metric.compute(), "test").scores() for metric in metrics]
        result.metrics = {name: (value, scores[1][name]) for name, value in scores[0].items()}


@torch.inference_mode()
def compare_shapes(
    result: Result,
    eager: nn.Module,
    exported: nn.Module,
    example: Tensor,
    axes: tuple[str | None, ...],
    as_input: Callable[[Tensor], Any],
) -> None:
    """Run two networks on batches of one and three samples, at the size of a real sample and at another one.

    Args:
        result: to add to.
        eager: the eager network.
        exported: the network of the file.
        example: a real input of one sample.
        axes: see `Signature`.
        as_input: a batch to what the networks take.
    """
    for batch, grow in itertools.product((1, 3), (False, True)):
        inputs = example.repeat(batch, *[1] * (example.dim() - 1))
        for place, axis in enumerate(axes if grow else ()):
            if axis not in (None, "batch"):
                length = inputs.shape[place]  # by an odd number of pixels, by different ones in height and width
                more = inputs.narrow(place, 0, min(length, 2 * place + 1))
                inputs = torch.cat([inputs, more], dim=place)
        given = as_input(inputs)
        result.add(given, eager(given), exported(given))

"""Choice of the layers of a run that become int8, by what the metric loses on training images."""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from vertebra.tools.exporting.comparison import Result, compare
from vertebra.tools.quantizing.int8_file import Int8Writer
from vertebra.tools.quantizing.layers import group_layers
from vertebra.tools.quantizing.sensitivity import Effect, keep_float, rank
from vertebra.tools.trained.export_plan import ExportPlan

TOLERANCE = 0.005  # of the metric, 0..1: half a point
_FINE = ("detection", "segmentation")  # whose metric has fine steps on a few images


class Choice(NamedTuple):
    """Layers of a file.

    Attributes:
        int8: names of the int8 layers.
        float32: names of the others.
        effects: group of layers -> what it alone loses in int8, the largest first; empty if not measured.
        loss: of the metric on the calibration samples with all layers in int8; None without labels.
        by_loss: whether the groups are ranked by the metric; by their outputs otherwise.
    """

    int8: list[str]
    float32: list[str]
    effects: dict[str, Effect]
    loss: float | None
    by_loss: bool


class Trials:
    """Int8 files of some layers, measured beside the float32 file.

    Args:
        plan: of the export.
        module: of the task, see `vertebra.tools.exporting.comparison.prepared`.
        float_file: network of the float32 file.
        writer: calibrated.
        file: for temporary int8 files.
        labeled: whether the samples have labels.
    """

    def __init__(
        self, plan: ExportPlan, module: Any, float_file: nn.Module, writer: Int8Writer, file: Path, labeled: bool
    ) -> None:
        self._plan, self._module, self._float_file = plan, module, float_file
        self._writer, self._file, self._labeled = writer, file, labeled

    def compare(self, int8_file: nn.Module, batches: Iterable[Any], float_file: nn.Module | None = None) -> Result:
        """Return the comparison of an int8 file with the float32 file."""
        result: Result = self._plan.result.empty()
        studies = self._plan.signature.takes_studies
        compare(result, self._module, float_file or self._float_file, int8_file, batches, self._labeled, studies)
        return result

    def choose(
        self, calibration: Iterable[Any], ranked: Iterable[Any], samples: int, task: str, report: bool
    ) -> Choice:
        """Return the layers that can be int8 with a loss of the metric that is tolerated.

        Args:
            calibration: batches to measure the loss on.
            ranked: fewer batches, to measure the effect of each group of layers on.
            samples: number of samples in `calibration`.
            task: of the run.
            report: whether to measure the effects also where the loss with all layers is tolerated.
        """
        layers = self._writer.layers
        groups = group_layers(layers)
        by_loss = self._labeled and task in _FINE
        # one sample that is decided otherwise is not yet a loss
        tolerance = TOLERANCE if task in _FINE else max(TOLERANCE, 1 / samples)
        known = {id(batches): Remembered(self._float_file) for batches in (calibration, ranked)}

        def measure(names: Collection[str], batches: Iterable[Any]) -> Effect:
            self._writer.write(self._file, names)
            result = self.compare(self._plan.readers[".onnx"](self._file), batches, known[id(batches)])
            return Effect(self.loss(result), result.deviation)

        loss = measure(layers, calibration).loss
        too_much = loss is not None and loss > tolerance
        effects = rank(groups, lambda names: measure(names, ranked), by_loss) if too_much or report else {}
        kept = keep_float(groups, effects, lambda names: measure(names, calibration), tolerance) if too_much else []
        floats = [layer for group in kept for layer in groups[group]]
        return Choice([layer for layer in layers if layer not in floats], floats, effects, loss, by_loss)

    def loss(self, result: Result, reference: Mapping[str, float] | None = None) -> float | None:
        """Return what the monitored metric loses, or None where it is not measured.

        Args:
            result: of `compare`.
            reference: name -> metric to compare with; those of the float32 file if not given.
        """
        monitor, mode = type(self._module).monitor
        name = monitor.rpartition("/")[2]
        before, after = result.metrics.get(name, (math.nan, math.nan))
        if reference is not None:
            before = reference.get(name, math.nan)
        loss = before - after if mode == "max" else after - before
        return None if math.isnan(loss) else loss


class Remembered(nn.Module):
    """Network that runs once for each input, and returns the same output for it later.

    Args:
        network: takes tensors, or a tuple of them.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self._outputs: dict[int, Any] = {}

    def forward(self, inputs: Any) -> Any:
        tensors: tuple[Tensor, ...] = tuple(inputs) if isinstance(inputs, tuple) else (inputs,)
        key = hash(tuple((x.shape, x.contiguous().numpy(force=True).tobytes()) for x in tensors))
        if key not in self._outputs:
            self._outputs[key] = self.network(inputs)
        return copy.copy(self._outputs[key])

"""Latency of backbones on this machine, measured in turns with a reference network."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable

import torch

from vertebra.backbones import create_backbone
from vertebra.backbones.folding import fold_norms
from vertebra.tools.benchmarks.table import device_name
from vertebra.tools.benchmarks.timing import time_interleaved
from vertebra.tools.experiment.hardware import default_precision
from vertebra.tools.searching.candidate import Candidate
from vertebra.tools.searching.trials import Trials

REFERENCE, _SIZE = "resnet:small-basic-d3.3.3-w16.32.64", 32  # ResNet-20 on an image of CIFAR, a few milliseconds
_ROUNDS = 9
_REFERENCE_CALLS = 200
_BUSY = 1.5  # ratio of the median to the fastest call of the reference from which other load is reported
_SHORTEST = 0.01  # seconds of a measurement: shorter ones are repeated within a round
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_TEXT = re.compile(r"(\d+(?:\.\d+)?)\s*(us|ms|s)")


class LatencyMeter:
    """Measures the time that backbones take for one image, as `vertebra predict` runs them.

    Every candidate is timed in turns with one reference network. Its latency is the median ratio of the two times of a
    round, times the latency of the reference: other load of the machine lengthens both times of a round, and leaves
    the ratio. That of the reference is its fastest call of many, measured once, since load only ever lengthens it.

    Args:
        record: of results, so that a search that continues has the same latencies.

    Attributes:
        reference_seconds: latency of the reference.
        load: median of its calls relative to that; above 1 where the machine does something else.
    """

    def __init__(self, record: Trials) -> None:
        self._record = record
        self._run = _Inference(REFERENCE, _SIZE)
        key = {"reference latency": REFERENCE, "size": _SIZE}
        found = record.result(key, self._measure_reference)
        self.reference_seconds, self.load = float(found["seconds"]), float(found["load"])

    def __str__(self) -> str:
        text = f"median of repeats in turns with {REFERENCE}, which takes {self.reference_seconds * 1e3:.2f} ms"
        if self.load < _BUSY:
            return text
        return f"{text} at best, but {self.load:.1f} times as long in the median: the machine was busy"

    def __call__(self, candidate: Candidate) -> float:
        """Return the latency of a candidate in seconds."""
        key = {"latency": candidate.name, "size": candidate.size}
        return float(self._record.result(key, lambda: {"seconds": self._measure(candidate)})["seconds"])

    def _measure_reference(self) -> dict[str, float]:
        # single calls: the shorter the measurement, the more often no other process runs meanwhile
        (times,) = time_interleaved([self._run.once], _REFERENCE_CALLS)
        return {"seconds": min(times), "load": statistics.median(times) / min(times)}

    def _measure(self, candidate: Candidate) -> float:
        run = _Inference(candidate.name, candidate.size)
        own, reference = time_interleaved([run.repeat, self._run.repeat], _ROUNDS)
        ratio = statistics.median(one / other for one, other in zip(own, reference, strict=True))
        return ratio * self._run.calls / run.calls * self.reference_seconds


class _Inference:
    """Inference of a backbone with folded norms on one image, in the precision of this machine."""

    def __init__(self, name: str, size: int) -> None:
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._body = create_backbone(name).eval().requires_grad_(False).to(self._device)
        fold_norms(self._body)
        self._image = torch.ones(1, 3, size, size, device=self._device)
        self.once()  # prepares kernels
        self.calls = max(1, round(_SHORTEST / min(_seconds(self.once) for _ in range(3))))

    def once(self) -> None:
        self._infer(1)

    def repeat(self) -> None:
        self._infer(self.calls)

    def _infer(self, calls: int) -> None:
        reduced = default_precision() == "bf16-mixed"
        with torch.inference_mode(), torch.autocast(self._device.type, torch.bfloat16, enabled=reduced):
            for _ in range(calls):
                self._body(self._image)
        if self._device.type == "cuda":
            torch.cuda.synchronize()


def _seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def latency_hardware() -> str:
    """Return what latencies are measured on and in which precision, in words."""
    return f"{device_name()}, {default_precision()}"


def read_latency(text: str) -> float:
    """Return seconds from text such as `5ms`.

    Raises:
        ValueError: it is no positive time in s, ms or us.
    """
    match = _TEXT.fullmatch(text.strip().lower())
    seconds = float(match[1]) * _SECONDS[match[2]] if match else 0.0
    if seconds <= 0:
        raise ValueError(f"--latency is {text!r}; expected the time of one image, such as 5ms.")
    return seconds

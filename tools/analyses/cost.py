"""Cost of a backbone block by block: operations, parameters, memory, arithmetic intensity and time."""

from __future__ import annotations

import copy
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn

from vertebra.backbones import create_backbone
from vertebra.backbones.families import input_size
from vertebra.backbones.received import received
from vertebra.tasks.reporting.charts import INK, PALETTE, Line, hex_color
from vertebra.tasks.reporting.plots import Panel, Plot, draw_legend, draw_panel, line_plot
from vertebra.tasks.reporting.tables import Table
from vertebra.tools.analyses.findings import Findings
from vertebra.tools.analyses.measures.counting import REST, STEM, Cost, count_costs, measure_times
from vertebra.tools.analyses.networks.blocks import Block, blocks_of, body_of
from vertebra.tools.analyses.networks.subject import is_run, loss_of, open_subject

DESCRIPTION = """\
Cost of a backbone, block by block: parameters, floating-point operations, activation memory of a training step,
arithmetic intensity, and the measured time of inference, with a roofline of this machine. Parameters and operations
add up to those of `vertebra backbones` at the same input size. Of a run it is the backbone, at the run's input size.

Paper: Roofline: An Insightful Visual Performance Model for Multicore Architectures, Williams et al. 2009,
https://doi.org/10.1145/1498765.1498785.

What one may conclude: which blocks take most of the time and memory; a block left of the ridge of the roofline waits
for memory, one to the right for arithmetic, and the distance to the roof is what a better kernel could gain. Not: the
time on another machine, batch size or precision. Traffic counts every operation on its own: fused kernels move less.
"""
CAVEAT = (
    "Operations are those of convolutions and matrix products, two for each multiply-accumulate. Activations are what "
    "a training step in float32 keeps for its backward pass. Times are of float32 inference on this machine, beside "
    "whatever else it ran; the roofs are a product of two matrices and a copy, measured here."
)
_PRODUCT, _COPY, _REPEATS = 1024, 2**26, 5  # rows of a matrix; bytes; measurements, of which the best counts


class Roof(NamedTuple):
    """Limits of a machine.

    Attributes:
        flops: floating-point operations a second.
        bandwidth: bytes a second.
    """

    flops: float
    bandwidth: float

    def attainable(self, intensity: np.ndarray) -> np.ndarray:
        """Return the operations a second that an arithmetic intensity allows."""
        limit: np.ndarray = np.minimum(self.flops, self.bandwidth * intensity)
        return limit


def add_flags(parser: ArgumentParser) -> None:
    """Add the flags of this analysis."""
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="samples in the input (default: 1)")
    parser.add_argument("--size", type=int, metavar="PIXELS", help="side of the input of a backbone (default: its own)")
    parser.add_argument("--rounds", type=int, default=10, metavar="N", help="measured forward passes (default: 10)")


def analyze(args: Namespace) -> Findings:
    """Count and measure the cost of each block."""
    if min(args.batch, args.rounds, args.size or 1) < 1:
        raise ValueError(f"--batch is {args.batch}, --rounds {args.rounds}, --size {args.size}; give 1 or more.")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name, body, shape = _of_run(args) if is_run(args.target) else _of_backbone(args)
    empty = copy.deepcopy(body).to("meta")
    costs = count_costs(empty, blocks_of(empty), shape)
    body = body.to(device).eval()
    blocks = blocks_of(body)
    synchronize = torch.cuda.synchronize if device.type == "cuda" else _nothing
    torch.manual_seed(args.seed)
    times = measure_times(body, blocks, torch.randn(*shape, device=device), args.rounds, synchronize)
    return _findings(name, blocks, costs, times, measure_roof(device, synchronize), shape, args)


def total(costs: Mapping[str, Cost]) -> Cost:
    """Return the sum over the parts of a network."""
    return Cost(*(sum(values) for values in zip(*costs.values(), strict=True)))


def measure_roof(device: torch.device, synchronize: Callable[[], None]) -> Roof:
    """Measure the rate of a float32 matrix product and the bandwidth of a copy, the best of some."""
    a, b = (torch.randn(_PRODUCT, _PRODUCT, device=device) for _ in range(2))
    source = torch.zeros(_COPY // 4, device=device)
    target = torch.empty_like(source)

    def best(run: Callable[[], object]) -> float:
        seconds = []
        for _ in range(_REPEATS + 1):
            synchronize()
            started = time.perf_counter()
            run()
            synchronize()
            seconds.append(time.perf_counter() - started)
        return min(seconds[1:])

    # a copy reads and writes every byte
    return Roof(2 * _PRODUCT**3 / best(lambda: a @ b), 2 * _COPY / best(lambda: target.copy_(source)))


def _of_backbone(args: Namespace) -> tuple[str, nn.Module, tuple[int, ...]]:
    torch.manual_seed(args.seed)
    body = create_backbone(args.target)
    size = input_size(args.target, body.levels)
    if args.size:
        size = (*size[:-2], args.size, args.size)
    return args.target, body, (args.batch, 3, *size)


def _of_run(args: Namespace) -> tuple[str, nn.Module, tuple[int, ...]]:
    sampled = Namespace(**{**vars(args), "samples": 1, "batch": 1, "split": "val"})
    subject = open_subject(sampled)
    body, shapes = body_of(subject.network), []
    with torch.no_grad(), received(body, lambda x: shapes.append(tuple(x.shape))):
        loss_of(subject.module, subject.batches[0])
    return subject.name, body, (args.batch, *shapes[0][1:])


def _findings(
    name: str,
    blocks: Sequence[Block],
    costs: Mapping[str, Cost],
    times: Mapping[str, float],
    roof: Roof,
    shape: tuple[int, ...],
    args: Namespace,
) -> Findings:
    whole, seconds = total(costs), sum(times.values())
    batch = args.batch
    return Findings(
        f"Cost of {name}",
        {
            "backbone": name,
            "input": " x ".join(map(str, shape)),
            "device": _device(),
            "rounds": str(args.rounds),
        },
        {
            "GMACs": whole.flops / 2e9 / batch,
            "parameters": whole.parameters,
            "activations, MiB": whole.activations / 2**20 / batch,
            "time, ms": 1e3 * seconds,
        },
        _sentences(blocks, costs, times, roof, batch),
        [_by_block(blocks, costs, times, batch), _roofline(blocks, costs, times, roof)],
        _table(blocks, costs, times, batch),
        None,
        CAVEAT,
    )


def _table(blocks: Sequence[Block], costs: Mapping[str, Cost], times: Mapping[str, float], batch: int) -> Table:
    """Return the cost of each part and of all, for each sample of a batch."""
    stages = {block.name: block.stage for block in blocks}
    seconds = sum(times.values())
    measured = [*((part, cost, times[part]) for part, cost in costs.items()), ("total", total(costs), seconds)]
    rows: list[list[object]] = [
        [
            part,
            stages.get(part, ""),
            cost.parameters,
            cost.flops / 2e6 / batch,
            cost.activations / 2**20 / batch,
            cost.traffic / 2**20 / batch,
            cost.intensity,
            1e3 * taken,
            taken / seconds,
            cost.flops / taken / 1e9 if taken > 0 else np.nan,
        ]
        for part, cost, taken in measured
    ]
    header = (
        "part",
        "stage",
        "parameters",
        "MMACs a sample",
        "activations, MiB a sample",
        "traffic, MiB a sample",
        "FLOP per byte",
        "time, ms",
        "share of the time",
        "GFLOP/s",
    )
    return Table("Cost of each part", header, rows)


def _sentences(
    blocks: Sequence[Block], costs: Mapping[str, Cost], times: Mapping[str, float], roof: Roof, batch: int
) -> list[str]:
    whole, seconds = total(costs), sum(times.values())
    slowest = max(times, key=lambda part: times[part])
    ridge = roof.flops / roof.bandwidth
    bound = [block for block in blocks if costs[block.name].intensity < ridge]
    return [
        f"{whole.parameters:,} parameters, {whole.flops / 2e9 / batch:.3f} GMACs and "
        f"{whole.activations / 2**20 / batch:.1f} MiB of activations a sample; {1e3 * seconds:.1f} ms for a batch of "
        f"{batch}.",
        f"The slowest part is {slowest} with {times[slowest] / seconds:.0%} of the time; the parts reach "
        f"{whole.flops / seconds / 1e9:.1f} GFLOP/s of {roof.flops / 1e9:.1f}.",
        f"{len(bound)} of {len(blocks)} blocks are left of the ridge at {ridge:.1f} FLOP per byte, where memory is the "
        f"limit ({roof.bandwidth / 1e9:.1f} GB/s).",
    ]


def _by_block(blocks: Sequence[Block], costs: Mapping[str, Cost], times: Mapping[str, float], batch: int) -> Plot:
    parts = [STEM, *(block.name for block in blocks), REST]
    x = np.arange(len(parts))
    panels = []
    for title, label, values in (
        ("Multiply-accumulates a sample", "millions", [costs[part].flops / 2e6 / batch for part in parts]),
        ("Parameters", "thousands", [costs[part].parameters / 1e3 for part in parts]),
        ("Activations a sample", "MiB", [costs[part].activations / 2**20 / batch for part in parts]),
        ("Traffic a sample", "MiB", [costs[part].traffic / 2**20 / batch for part in parts]),
        ("Time of the batch", "ms", [1e3 * times[part] for part in parts]),
        ("Arithmetic intensity", "FLOP per byte", [costs[part].intensity for part in parts]),
    ):
        panels.append(Panel(title, [Line(title, x, np.array(values), 0)], f"block (0: stem, {x[-1]}: rest)", label))
    return line_plot("cost", "Cost by depth", panels, legend=False)


def _roofline(blocks: Sequence[Block], costs: Mapping[str, Cost], times: Mapping[str, float], roof: Roof) -> Plot:
    stages = list(dict.fromkeys(block.stage for block in blocks))
    points = {
        stage: [
            (costs[block.name].intensity, costs[block.name].flops / times[block.name] / 1e9)
            for block in blocks
            if block.stage == stage and costs[block.name].flops and times[block.name] > 0
        ]
        for stage in stages
    }
    known = [point[0] for found in points.values() for point in found] or [1.0]
    ridge = roof.flops / roof.bandwidth
    reach = np.geomspace(min(*known, ridge) / 2, max(*known, ridge) * 2, 200)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        line = Line("attainable here", reach, roof.attainable(reach) / 1e9, None)
        roofline = Panel("Roofline", [line], "FLOP per byte", "GFLOP/s", True, True, [ridge], "ridge")
        draw_panel(axes, roofline)
        for index, (stage, found) in enumerate(points.items()):
            color = hex_color(PALETTE[index % len(PALETTE)])
            if found:
                x, y = np.array(found).T
                axes.scatter(x, y, s=22, color=color, edgecolor=INK, linewidth=0.4, label=stage, zorder=3)
        draw_legend(figure, [axes])

    return Plot("cost_roofline", "Roofline of this machine, and the blocks", draw, (520, 400))


def _device() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"


def _nothing() -> None:
    """Wait for nothing: a CPU has finished when a call returns."""

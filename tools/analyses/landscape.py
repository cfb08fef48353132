"""Loss landscape: the loss along filter-normalized directions, its curvature, and the path of a training."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from vertebra.tasks.reporting.tables import Table
from vertebra.tools.analyses.findings import Findings
from vertebra.tools.analyses.landscape_plots import landscape_plots
from vertebra.tools.analyses.measures.curvature import (
    Eigenvalues,
    Plane,
    grid_curvature,
    hessian_extremes,
    negative_shares,
    nonconvexity,
)
from vertebra.tools.analyses.measures.directions import (
    Direction,
    Trajectory,
    filter_normalized,
    losses_at,
    principal_directions,
)
from vertebra.tools.analyses.networks.subject import Subject, add_sample_flags, loss_of, open_subject
from vertebra.tools.analyses.progress import track
from vertebra.tools.trained.checkpoint_file import read_checkpoint
from vertebra.tools.trained.location import find_checkpoint, run_folder

DESCRIPTION = """\
Loss landscape around the weights: on lines and on a plane along random directions in which each filter has the norm of
the weight's own; biases and norms do not move, and running statistics of batch norms stay as trained. With it two
measures of roughness: at each inner point of the plane the negative share of its absolute curvature, averaged (a convex
bowl has 0, saddles 0.5); and on a coarse grid the paper's |smallest| / largest eigenvalue of the full Hessian, by
Lanczos' iteration. If the run kept three or more checkpoints, its path in the plane of their two principal directions.

Paper: Visualizing the Loss Landscape of Neural Nets, Li et al. 2018, https://arxiv.org/abs/1712.09913.

What one may conclude: of two trained networks, compared at the same span, grid, data and several seeds, which one has
the rougher surface; in the paper deep networks without shortcuts have. Not: that a plane shows the full landscape (a
non-convex loss can be convex on it), and nothing of networks that did not train, whose surface may be flat.
"""
CAVEAT = (
    "A plane of two random directions shows little of a space of as many dimensions as there are weights: convexity on "
    "it is necessary for a convex loss, not sufficient. Compare networks at the same span, grid and samples only."
)
_PATH_GRID, _MARGIN = 11, 0.15  # points a side of the plane of a training, and margin around its path


def add_flags(parser: ArgumentParser) -> None:
    """Add the flags of this analysis."""
    add_sample_flags(parser, samples=128, batch=64, split="train")
    parser.add_argument("--grid", type=int, default=15, metavar="N", help="points a side of the plane (default: 15)")
    parser.add_argument("--span", type=float, default=1.0, metavar="X", help="from -X to X of a direction (default: 1)")
    parser.add_argument("--lines", type=int, default=3, metavar="N", help="random lines (default: 3)")
    parser.add_argument(
        "--hessian", type=int, default=3, metavar="N", help="points a side where the Hessian is examined (default: 3)"
    )
    parser.add_argument("--iterations", type=int, default=12, metavar="N", help="of Lanczos at a point (default: 12)")


def analyze(args: Namespace) -> Findings:
    """Measure the loss on lines and planes through the weights, and its curvature."""
    if args.grid < 3 or args.lines < 1 or args.hessian < 1 or args.iterations < 2 or not args.span > 0:
        raise ValueError(
            f"--grid {args.grid}, --lines {args.lines}, --hessian {args.hessian}, --iterations {args.iterations}, "
            f"--span {args.span}: at least 3, 1, 1, 2 and more than 0 are needed."
        )
    subject = open_subject(args)
    network = subject.network
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    generator = torch.Generator().manual_seed(args.seed)
    directions = [filter_normalized(parameters, generator) for _ in range(max(2, args.lines))]
    loss = _mean_loss(subject)
    steps = np.linspace(-args.span, args.span, 2 * args.grid + 1)
    lines = [
        losses_at(parameters, [direction], steps[:, None], loss, f"line {i + 1}")
        for i, direction in enumerate(directions[: args.lines])
    ]
    axis = np.linspace(-args.span, args.span, args.grid)
    plane = _plane(parameters, directions[:2], axis, axis, loss, "plane")
    eigenvalues = _hessians(subject, parameters, directions[:2], args)
    path, reason = _path(subject, args.target, parameters, loss)
    return _findings(subject, args, (steps, lines), plane, eigenvalues, path, reason)


def _mean_loss(subject: Subject) -> Callable[[], float]:
    sizes = [len(subject.module.sample_names(batch)) or 1 for batch in subject.batches]

    @torch.no_grad()
    def loss() -> float:
        losses = [loss_of(subject.module, batch).double() for batch in subject.batches]
        return float(sum(size * float(one) for size, one in zip(sizes, losses, strict=True)) / sum(sizes))

    return loss


def _plane(
    parameters: list[nn.Parameter],
    directions: list[Direction],
    a: np.ndarray,
    b: np.ndarray,
    loss: Callable[[], float],
    text: str,
) -> Plane:
    points = np.stack(np.meshgrid(a, b, indexing="ij"), axis=-1).reshape(-1, 2)
    return Plane(a, b, losses_at(parameters, directions, points, loss, text).reshape(len(a), len(b)))


def _hessians(
    subject: Subject, parameters: list[nn.Parameter], directions: list[Direction], args: Namespace
) -> list[Eigenvalues]:
    """Examine the Hessian of the loss of the first batch on a coarse grid, from the center outwards to the span."""
    axis = np.linspace(-args.span, args.span, args.hessian) if args.hessian > 1 else np.zeros(1)
    found: list[Eigenvalues] = []

    def examine() -> float:
        extremes = hessian_extremes(
            parameters, lambda: loss_of(subject.module, subject.batches[0]), args.iterations, args.seed
        )
        a, b = points[len(found)].tolist()
        found.append(Eigenvalues(a, b, *extremes))
        return 0.0

    points = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    losses_at(parameters, directions, points, examine, "Hessian")
    return found


def _path(
    subject: Subject, target: str, parameters: list[nn.Parameter], loss: Callable[[], float]
) -> tuple[tuple[Trajectory, Plane] | None, str]:
    """Return the path of the training and the plane around it, or a sentence that says why there is none."""
    if not subject.is_trained:
        return None, "There is no path of a training: the network is untrained."
    files = checkpoints_of(find_checkpoint(target))
    if len(files) < 3:
        return None, (
            f"There is no path of the training: the run kept {len(files)} checkpoints of different steps, and three "
            "are needed (a ModelCheckpoint with save_top_k -1 keeps one each epoch)."
        )
    names = [name for name, parameter in subject.network.named_parameters() if parameter.requires_grad]
    points = []
    for file in track(files, "checkpoints"):
        state = read_checkpoint(file)["state_dict"]
        points.append([state[f"network.{name}"].to(parameters[0].device) for name in names])
    # the path is drawn around the weights that are examined, which need not be those of the last epoch
    points.append([parameter.detach().clone() for parameter in parameters])
    try:
        trajectory = principal_directions(points)
    except ValueError as error:
        return None, f"There is no path of the training: {error}"
    low, high = trajectory.coordinates.min(axis=0), trajectory.coordinates.max(axis=0)
    margin = _MARGIN * (high - low).max()
    a, b = (np.linspace(low[i] - margin, high[i] + margin, _PATH_GRID) for i in (0, 1))
    plane = _plane(parameters, list(trajectory.directions), a, b, loss, "plane of the training")
    return (trajectory, plane), ""


def checkpoints_of(checkpoint: Path) -> list[Path]:
    """Return the checkpoints beside one, one for each step of the training, in the order of the steps."""
    by_step: dict[int, Path] = {}
    if checkpoint.is_file():
        for file in sorted(run_folder(checkpoint).glob("checkpoints/*.ckpt")):
            by_step.setdefault(int(read_checkpoint(file)["global_step"]), file)
    return [by_step[step] for step in sorted(by_step)]


def _findings(
    subject: Subject,
    args: Namespace,
    lines: tuple[np.ndarray, list[np.ndarray]],
    plane: Plane,
    eigenvalues: list[Eigenvalues],
    path: tuple[Trajectory, Plane] | None,
    reason: str,
) -> Findings:
    shares = negative_shares(grid_curvature(plane.losses, float(plane.a[1] - plane.a[0])))
    roughness = float(np.nanmean(shares)) if np.isfinite(shares).any() else np.nan
    ratios = np.array([nonconvexity(one.smallest, one.largest) for one in eigenvalues])
    ratio = float(np.nanmean(ratios)) if np.isfinite(ratios).any() else np.nan
    center = eigenvalues[len(eigenvalues) // 2]
    middle = float(lines[1][0][len(lines[0]) // 2])
    numbers = [
        ["roughness", roughness],
        ["|smallest| / largest eigenvalue, mean", ratio],
        ["loss at the weights", middle],
        ["greatest loss on the plane", float(np.nanmax(plane.losses))],
    ]
    return Findings(
        f"Loss landscape of {subject.name}",
        {
            "network": subject.name + ("" if subject.is_trained else ", untrained"),
            "samples": subject.samples,
            "plane": f"{args.grid} x {args.grid} points, {args.span:g} of a filter-normalized direction to each side",
            "Hessian": f"first batch, {args.iterations} iterations of Lanczos at each of {len(eigenvalues)} points",
            "seed": str(args.seed),
        },
        {"roughness": roughness, "|smallest| / largest eigenvalue": ratio, "loss at the weights": middle},
        [
            f"Roughness {roughness:.3f}: mean negative share of the curvature over {shares.size} points of the plane "
            "(0 is convex, 0.5 saddles everywhere).",
            f"Hessian: |smallest| / largest eigenvalue {ratio:.3f}, mean over {len(eigenvalues)} points; at the "
            f"weights themselves {center.smallest:.3g} and {center.largest:.3g}.",
            f"The loss is {middle:.4g} at the weights and up to {np.nanmax(plane.losses):.4g} on the plane.",
            reason if path is None else _of_path(path[0]),
        ],
        landscape_plots(lines, plane, shares, eigenvalues, path),
        _losses(lines, plane, shares, path),
        Table("Numbers", ("number", "value"), numbers),
        CAVEAT,
        _further(eigenvalues, ratios, path),
    )


def _of_path(path: Trajectory) -> str:
    explained = path.explained
    return (
        f"The path of {len(path.coordinates) - 1} checkpoints lies to {explained.sum():.0%} in the plane of its two "
        f"principal directions ({explained[0]:.0%} and {explained[1]:.0%})."
    )


def _losses(
    lines: tuple[np.ndarray, list[np.ndarray]],
    plane: Plane,
    shares: np.ndarray,
    path: tuple[Trajectory, Plane] | None,
) -> Table:
    """Return all losses, on the lines and on the planes."""
    rows: list[list[object]] = [
        ["line", index + 1, float(step), np.nan, float(value), np.nan]
        for index, values in enumerate(lines[1])
        for step, value in zip(lines[0], values, strict=True)
    ]
    rows += _rows("plane", plane, shares)
    if path is not None:
        rows += _rows("plane of the training", path[1], None)
    return Table("Losses", ("part", "line", "a", "b", "loss", "negative share of curvature"), rows)


def _further(
    eigenvalues: list[Eigenvalues], ratios: np.ndarray, path: tuple[Trajectory, Plane] | None
) -> dict[str, Table]:
    """Return a table of the Hessian, and one of the path of the training."""
    header = ("a", "b", "smallest", "largest", "|smallest| / largest")
    rows = [[*one, float(ratio)] for one, ratio in zip(eigenvalues, ratios, strict=True)]
    tables = {"hessian": Table("Extreme eigenvalues of the Hessian", header, rows)}
    if path is not None:
        axes = ("checkpoint", "first direction", "second direction")
        places = [[index, *map(float, point)] for index, point in enumerate(path[0].coordinates)]
        tables["path"] = Table("Path of the training", axes, places)
    return tables


def _rows(part: str, plane: Plane, shares: np.ndarray | None) -> list[list[object]]:
    padded = np.full(plane.losses.shape, np.nan)
    if shares is not None:
        padded[1:-1, 1:-1] = shares
    return [
        [part, 0, float(plane.a[i]), float(plane.b[j]), float(loss), float(padded[i, j])]
        for (i, j), loss in np.ndenumerate(plane.losses)
    ]

"""Findings of a search: sentences, Pareto front, table of trials, and names for `vertebra fit`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vertebra.tasks.reporting.charts import INK, PALETTE, hex_color
from vertebra.tasks.reporting.plots import Plot, draw_legend
from vertebra.tasks.reporting.tables import Table
from vertebra.tools.analyses.ablate import interval
from vertebra.tools.analyses.findings import Findings
from vertebra.tools.searching.candidate import Candidate, Limits
from vertebra.tools.searching.search import METHODS, Outcome, pareto_front
from vertebra.tools.searching.strategy import Plan

_CAVEAT = (
    "Errors of the selection are those of one seed, and the smallest of many is too small by chance: compare networks "
    "by the comparison, whose seeds and images selected none of them. Epochs are few, and the recipe is tuned for no "
    "candidate; another data set or a longer training may rank them otherwise. Intervals are Student's t over seeds."
)
_LOOKS = {"search": ("o", PALETTE[0]), "random": ("s", PALETTE[1]), "hand-made": ("D", PALETTE[3])}
_RESOLUTION = 0.01  # smallest difference that counts: few seeds may agree by chance


class _Cost(NamedTuple):
    """What candidates cost: milliseconds where latency is limited, else operations."""

    latency: bool

    def of(self, candidate: Candidate) -> float:
        return (candidate.latency or 0) * 1e3 if self.latency else candidate.macs / 1e6

    def text(self, candidate: Candidate) -> str:
        return f"{self.of(candidate):.2f} ms" if self.latency else f"{self.of(candidate):.1f} M"

    @property
    def header(self) -> str:
        return "latency (ms)" if self.latency else "MACs (M)"

    @property
    def axis(self) -> str:
        return "latency of one image (ms)" if self.latency else "multiply-accumulates (millions)"


def search_findings(outcome: Outcome, plan: Plan, limits: Limits, setting: Mapping[str, str]) -> Findings:
    """Return the findings of a search, for `write_findings`."""
    cost = _Cost(limits.latency is not None)
    complete = [trial for trial in outcome.trials if trial.epochs == plan.epochs]
    front = pareto_front(complete, cost.of)
    columns = ("method", "backbone", "size", "MACs (M)", *([cost.header] if cost.latency else []), "parameters")
    header = (*columns, "epochs", "error", "on the front")
    rows = [
        [
            trial.method,
            *_cells(trial.candidate),
            trial.epochs,
            trial.error,
            "yes" if trial in front else "no",
        ]
        for trial in outcome.trials
    ]
    finals = {method: np.array(errors) for method, errors in outcome.finals.items()}
    comparison = Table(
        "Comparison",
        (*columns, "error", "± (95 %)", "seeds", "cost of the selection"),
        [[method, *_cells(outcome.best[method]), *_errors(finals[method]), outcome.cost[method]] for method in METHODS],
    )
    names = Table(
        "Pareto front",
        (cost.header, "error", "type behind vertebra fit DATA"),
        [[cost.of(trial.candidate), trial.error, _flags(trial.candidate)] for trial in front],
    )
    sentences = [
        f"Of {len({trial.candidate for trial in outcome.trials})} networks within the {limits}, the search found "
        f"{outcome.best['search'].name} at {outcome.best['search'].size} pixels.",
        *(_against(method, outcome, finals, cost) for method in ("hand-made", "random")),
        *([_proxies(outcome.correlations)] if outcome.correlations else []),
        *(
            f"Front: {cost.text(trial.candidate)}, error {trial.error:.3f}: vertebra fit DATA {_flags(trial.candidate)}"
            for trial in front
        ),
    ]
    return Findings(
        "Architecture search",
        setting,
        {f"error, {method}": float(finals[method].mean()) for method in METHODS},
        sentences,
        [_plot(outcome, plan, cost)],
        Table("Trials", header, rows),
        comparison,
        _CAVEAT,
        {"front": names},
    )


def _cells(candidate: Candidate) -> list[str | float]:
    latency = [] if candidate.latency is None else [candidate.latency * 1e3]
    return [candidate.name, candidate.size, candidate.macs / 1e6, *latency, candidate.parameters]


def _errors(errors: np.ndarray) -> list[str | float]:
    return [float(errors.mean()), interval(errors), ", ".join(f"{error:.3f}" for error in errors)]


def _flags(candidate: Candidate) -> str:
    # a new network has no weights to start from, which is what `vertebra fit DATA` would do
    return f"--backbone {candidate.name} --size {candidate.size} --weights none"


def _against(method: str, outcome: Outcome, finals: Mapping[str, np.ndarray], cost: _Cost) -> str:
    """Return the sentence on the found network beside that of another method, paired by seed."""
    gaps = finals["search"] - finals[method]
    half, mean = interval(gaps), float(gaps.mean())
    if np.isnan(half):
        judged = ", one seed, no interval"
    else:
        seen = abs(mean) > max(half, _RESOLUTION)
        judged = f" ± {half:.3f} over {len(gaps)} seeds: "
        judged += "no difference seen" if not seen else "better" if mean < 0 else "worse"
    kind = {"hand-made": "the hand-made network", "random": "random search of equal cost"}[method]
    other = outcome.best[method]
    return (
        f"Found network against {kind} ({other.name} at {other.size} pixels, {cost.text(other)}; the "
        f"found one has {cost.text(outcome.best['search'])}): error {finals['search'].mean():.3f} against "
        f"{finals[method].mean():.3f}, {mean:+.3f}{judged}."
    )


def _proxies(correlations: Mapping[str, float]) -> str:
    none = "undefined (all values are equal)"
    parts = ", ".join(f"{name} {none if np.isnan(value) else f'{value:+.2f}'}" for name, value in correlations.items())
    return f"Rank correlation of the proxies with the accuracy in the first rung: {parts}."


def _plot(outcome: Outcome, plan: Plan, cost: _Cost) -> Plot:
    complete = [trial for trial in outcome.trials if trial.epochs == plan.epochs]
    front = pareto_front(complete, cost.of)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.patch.set_alpha(0)
        axes.grid(linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        costs = [cost.of(trial.candidate) for trial in front]
        errors = [trial.error for trial in front]
        rings: dict[str, Any] = {"marker": "o", "markersize": 12, "markerfacecolor": "none"}
        axes.step(costs, errors, where="post", color=INK, linewidth=1, label="Pareto front", **rings)
        stopped = [trial for trial in outcome.trials if trial.epochs < plan.epochs]
        axes.plot(
            [cost.of(trial.candidate) for trial in stopped],
            [trial.error for trial in stopped],
            ".",
            color=hex_color(PALETTE[0]),
            alpha=0.35,
            label="search, fewer epochs",
        )
        for method, (marker, color) in _LOOKS.items():
            chosen = [trial for trial in complete if trial.method == method]
            axes.plot(
                [cost.of(trial.candidate) for trial in chosen],
                [trial.error for trial in chosen],
                marker,
                color=hex_color(color),
                markersize=6,
                label=method,
            )
        axes.set(xlabel=cost.axis, ylabel="error")
        axes.xaxis.set_major_locator(MaxNLocator(6))
        draw_legend(figure, [axes])

    title = f"Error on the selecting images against {'latency' if cost.latency else 'operations'}, {plan.epochs} epochs"
    return Plot("search", title, draw, (640, 420))

"""Findings of a search: sentences, Pareto front, table of trials, and names for `vertebra fit`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vertebra.tasks.reporting.charts import INK, PALETTE, hex_color
from vertebra.tasks.reporting.plots import Plot
from vertebra.tasks.reporting.tables import Table
from vertebra.tools.analyses.ablate import interval
from vertebra.tools.analyses.findings import Findings
from vertebra.tools.searching.search import METHODS, Outcome, Plan, pareto_front
from vertebra.tools.searching.space import Candidate

_CAVEAT = (
    "Errors of the selection are those of one seed, and the smallest of many is too small by chance: compare networks "
    "by the comparison, whose seeds and images selected none of them. Epochs are few, and the recipe is tuned for no "
    "candidate; another data set or a longer training may rank them otherwise. Intervals are Student's t over seeds."
)
_LOOKS = {"search": ("o", PALETTE[0]), "random": ("s", PALETTE[1]), "hand-made": ("D", PALETTE[3])}
_RESOLUTION = 0.01  # smallest difference that counts: few seeds may agree by chance


def search_findings(outcome: Outcome, plan: Plan, budget: int, setting: Mapping[str, str]) -> Findings:
    """Return the findings of a search, for `write_findings`."""
    complete = [trial for trial in outcome.trials if trial.epochs == plan.epochs]
    front = pareto_front(complete)
    header = ("method", "backbone", "size", "MACs (M)", "parameters", "epochs", "error", "on the front")
    rows = [
        [
            trial.method,
            trial.candidate.name,
            trial.candidate.size,
            trial.candidate.macs / 1e6,
            trial.candidate.parameters,
            trial.epochs,
            trial.error,
            "yes" if trial in front else "no",
        ]
        for trial in outcome.trials
    ]
    finals = {method: np.array(errors) for method, errors in outcome.finals.items()}
    comparison = Table(
        "Comparison",
        ("method", "backbone", "size", "MACs (M)", "parameters", "error", "± (95 %)", "seeds", "cost of the selection"),
        [[method, *_cells(outcome.best[method]), *_errors(finals[method]), outcome.cost[method]] for method in METHODS],
    )
    names = Table(
        "Pareto front",
        ("MACs (M)", "error", "type behind vertebra fit DATA"),
        [[trial.candidate.macs / 1e6, trial.error, _flags(trial.candidate)] for trial in front],
    )
    sentences = [
        f"Of {len({trial.candidate for trial in outcome.trials})} networks within {budget / 1e6:,.1f} M "
        f"multiply-accumulates, the search found "
        f"{outcome.best['search'].name} at {outcome.best['search'].size} pixels.",
        *(_against(method, outcome, finals) for method in ("hand-made", "random")),
        _proxies(outcome.correlations),
        *(
            f"Front: {trial.candidate.macs / 1e6:.1f} M, error {trial.error:.3f}: "
            f"vertebra fit DATA {_flags(trial.candidate)}"
            for trial in front
        ),
    ]
    return Findings(
        "Architecture search",
        setting,
        {f"error, {method}": float(finals[method].mean()) for method in METHODS},
        sentences,
        [_plot(outcome, plan)],
        Table("Trials", header, rows),
        comparison,
        _CAVEAT,
        {"front": names},
    )


def _cells(candidate: Candidate) -> list[str | float]:
    return [candidate.name, candidate.size, candidate.macs / 1e6, candidate.parameters]


def _errors(errors: np.ndarray) -> list[str | float]:
    return [float(errors.mean()), interval(errors), ", ".join(f"{error:.3f}" for error in errors)]


def _flags(candidate: Candidate) -> str:
    return f"--backbone {candidate.name} --size {candidate.size}"


def _against(method: str, outcome: Outcome, finals: Mapping[str, np.ndarray]) -> str:
    """Return the sentence on the found network beside that of another method, paired by seed."""
    gaps = finals["search"] - finals[method]
    half, mean = interval(gaps), float(gaps.mean())
    if np.isnan(half):
        judged = "one seed, no interval"
    elif abs(mean) <= max(half, _RESOLUTION):
        judged = "no difference seen"
    else:
        judged = "better" if mean < 0 else "worse"
    kind = {"hand-made": "the hand-made network", "random": "random search of equal cost"}[method]
    other = outcome.best[method]
    return (
        f"Found network against {kind} ({other.name} at {other.size} pixels, {other.macs / 1e6:.1f} M; the "
        f"found one has {outcome.best['search'].macs / 1e6:.1f} M): error {finals['search'].mean():.3f} against "
        f"{finals[method].mean():.3f}, {mean:+.3f} ± {half:.3f} over {len(gaps)} seeds: {judged}."
    )


def _proxies(correlations: Mapping[str, float]) -> str:
    parts = ", ".join(f"{name} {value:+.2f}" for name, value in correlations.items())
    return f"Rank correlation of the proxies with the accuracy in the first rung: {parts}."


def _plot(outcome: Outcome, plan: Plan) -> Plot:
    complete = [trial for trial in outcome.trials if trial.epochs == plan.epochs]
    front = pareto_front(complete)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.patch.set_alpha(0)
        axes.grid(linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        macs = [trial.candidate.macs / 1e6 for trial in front]
        errors = [trial.error for trial in front]
        axes.step(macs, errors, where="post", color=INK, linewidth=1, label="Pareto front")
        stopped = [trial for trial in outcome.trials if trial.epochs < plan.epochs]
        axes.plot(
            [trial.candidate.macs / 1e6 for trial in stopped],
            [trial.error for trial in stopped],
            ".",
            color=hex_color(PALETTE[0]),
            alpha=0.35,
            label="search, fewer epochs",
        )
        for method, (marker, color) in _LOOKS.items():
            chosen = [trial for trial in complete if trial.method == method]
            axes.plot(
                [trial.candidate.macs / 1e6 for trial in chosen],
                [trial.error for trial in chosen],
                marker,
                color=hex_color(color),
                markersize=6,
                label=method,
            )
        axes.set(xlabel="multiply-accumulates (millions)", ylabel="error")
        axes.xaxis.set_major_locator(MaxNLocator(6))
        figure.legend(loc="outside lower left", ncols=3, frameon=False, fontsize=10)

    title = f"Error on the selecting images against operations, {plan.epochs} epochs"
    return Plot("search", title, draw, (640, 420))

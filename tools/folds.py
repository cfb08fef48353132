"""`vertebra folds`: cross-validation with per-fold training and out-of-fold evaluation."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from vertebra.tools import fit
from vertebra.tools.arguments.config_files import config_name

if TYPE_CHECKING:
    import numpy as np

    from vertebra.tasks.reporting.evaluated_table import EvaluatedTable

_DESCRIPTION = """\
Cross-validate a recipe: train one network per fold and evaluate it on the held-out fold. Classifiers are scored on the
pooled out-of-fold predictions of all samples, with 95 % bootstrap intervals over groups (patients, recordings) where
the data set defines them; detectors and segmenters by mean and standard deviation over the folds.
The last checkpoint of each training is evaluated, not the best epoch: selecting an epoch on the held-out fold would
bias the score upward. A finished fold is not trained again, an interrupted one is resumed.
Writes one run folder per fold and, for classifiers, scores_val.csv with the prediction of every sample.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the cross-validation and print the scores as a Markdown table."""
    parser = argparse.ArgumentParser(
        prog="vertebra folds",
        usage="vertebra folds -c TASK/NAME.yaml [--folds N] [--output FOLDER] [--FLAG VALUE ...]",
        description=_DESCRIPTION,
        epilog="-c and further flags are those of `vertebra fit`, for instance --data.root FOLDER --data.group COLUMN.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--folds", type=int, default=5, metavar="N", help="number of folds (default: 5)")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="output folder (default: runs/NAME_folds)")
    args, flags = parser.parse_known_args(sys.argv[1:] if argv is None else argv)
    name = config_name(flags)
    if name is None:
        print("vertebra: no configuration; give one with -c TASK/NAME.yaml.", file=sys.stderr)
        return 2
    run = args.output or Path("runs") / f"{name}_folds"

    from vertebra.tasks.reporting.evaluated_table import read_evaluated, write_evaluated

    folders = []
    for fold in range(args.folds):
        folder = run / f"fold_{fold}"
        code = _run_fold(folder, [*flags, "--data.folds", str(args.folds), "--data.fold", str(fold)])
        if code:
            return code
        folders.append(folder)
    # detectors and segmenters have no label per sample, so their metrics cannot be pooled
    if not (folders[0] / "scores_val.csv").exists():
        metrics = [json.loads((folder / "metrics_val.json").read_text(encoding="utf-8")) for folder in folders]
        print("", *metrics_table(metrics), sep="\n")
        return 0
    # finished folds may be from an earlier call with other flags, so they are checked against each other
    try:
        tables = [read_evaluated(folder / "scores_val.csv") for folder in folders]
        pooled = pool_folds(tables)
    except ValueError as error:
        print(f"vertebra: {error}", file=sys.stderr)
        return 1
    write_evaluated(run / "scores_val.csv", pooled)
    print("", *markdown_table(tables, pooled), f"out-of-fold predictions: {run / 'scores_val.csv'}", sep="\n")
    return 0


def _run_fold(folder: Path, flags: Sequence[str]) -> int:
    """Train on all other folds and evaluate the last checkpoint on this one, unless that has been done."""
    # a marker of its own: `fit` ends with a scores_val.csv too, but of its best epoch
    done = folder / "measured"
    if done.exists():
        return 0
    last = folder / "checkpoints" / "last.ckpt"
    flags = [*flags, "--trainer.default_root_dir", str(folder)]  # last, so that it wins over a user's own
    resume = ["--ckpt_path", "last"] if last.exists() else []
    code = fit.main(["fit", *flags, *resume]) or fit.main(["validate", *flags, "--ckpt_path", str(last)])
    if not code:
        done.touch()
    return code


def metrics_table(metrics: Sequence[Mapping[str, float | None]]) -> list[str]:
    """Return the lines of a Markdown table: a row per fold, and mean and standard deviation over the folds.

    Args:
        metrics: logged metrics of each fold, None where undefined.
    """
    names = list(metrics[0])
    header = ["fold", *names]
    rows = [[str(fold), *(_cell(values[name]) for name in names)] for fold, values in enumerate(metrics)]
    # a class may be missing from a fold, which leaves its metric undefined there
    defined = [[value for values in metrics if (value := values[name]) is not None] for name in names]
    spread = [
        f"{_cell(fmean(values))} ± {_cell(stdev(values))}" if len(values) > 1 else _cell(next(iter(values), None))
        for values in defined
    ]
    lines = [header, ["---"] * len(header), *rows, ["mean ± sd", *spread]]
    return [f"| {' | '.join(line)} |" for line in lines]


def _cell(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def pool_folds(tables: Sequence[EvaluatedTable]) -> EvaluatedTable:
    """Concatenate the out-of-fold predictions of all folds.

    Raises:
        ValueError: the folds are not those of one split: their classes differ, or two share a sample or a group.
    """
    import numpy as np

    first = tables[0]
    for column in ("names", "groups"):
        values = np.concatenate([np.unique(getattr(table, column)) for table in tables])
        unique, counts = np.unique(values, return_counts=True)
        if (counts > 1).any():
            # a group in two folds is a leak: its samples are in the training data of the other fold
            raise ValueError(
                f"{str(unique[counts > 1][0])!r} of the {column} is in two folds, which are therefore of different "
                "runs; one split is expected. Choose another --output."
            )
    if any(table.class_names != first.class_names for table in tables):
        raise ValueError(
            f"the folds have different classes; {first.class_names} is expected in all. Choose another --output."
        )
    columns = zip(*(table[1:] for table in tables), strict=True)
    return type(first)(first.class_names, *map(np.concatenate, columns))


def markdown_table(tables: Sequence[EvaluatedTable], pooled: EvaluatedTable) -> list[str]:
    """Return the lines of a Markdown table: a row per fold, and the pooled samples with 95 % intervals over groups."""
    import numpy as np

    from vertebra.tasks.scoring.bootstrap import bootstrap

    def row(title: str, table: EvaluatedTable, cells: Iterable[str]) -> str:
        return f"| {' | '.join([title, str(len(table.names)), str(len(np.unique(table.groups))), *cells])} |"

    def scores(table: EvaluatedTable) -> Mapping[str, float]:
        return make_scorer(table)(np.ones(len(table.names), dtype=np.int64))

    # groups and not samples are resampled: samples of one patient are correlated, and would narrow the interval
    intervals = bootstrap(make_scorer(pooled), pooled.groups)
    cells = [f"{value:.3f} ({intervals[name]})" for name, value in scores(pooled).items()]
    header = ["fold", "samples", "groups", *intervals]
    return [
        f"| {' | '.join(header)} |",
        f"|{'---|' * len(header)}",
        *(row(str(i), table, (f"{x:.3f}" for x in scores(table).values())) for i, table in enumerate(tables)),
        row("all", pooled, cells),
    ]


def make_scorer(table: EvaluatedTable) -> Callable[[np.ndarray], Mapping[str, float]]:
    """Return a function from a bootstrap resample, as counts (N,), to accuracy (single-label only) and AUROC."""
    import numpy as np

    from vertebra.tasks.medical.measures import mean_of_defined
    from vertebra.tasks.scoring.conditions import conditions_of
    from vertebra.tasks.scoring.roc import rankings

    conditions = conditions_of(table.labels, table.probs)
    # sorted once: the 1000 resamples change only the weights
    ranked = rankings(conditions.truth, conditions.probs)
    correct = table.probs.argmax(axis=1) == table.labels if table.labels.ndim == 1 else None

    def score(counts: np.ndarray) -> Mapping[str, float]:
        auroc = mean_of_defined(np.array([ranking.curve(counts).auroc for ranking in ranked]))
        accuracy = {} if correct is None else {"accuracy": float(np.average(correct, weights=counts))}
        return {**accuracy, "AUROC": auroc}

    return score


if __name__ == "__main__":
    sys.exit(main())

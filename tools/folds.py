"""`vertebra folds -c CONFIG`: cross-validation, in which no sample is measured by a network that was trained on it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from vertebra.tools.config_files import config_of

if TYPE_CHECKING:
    import numpy as np

    from vertebra.tasks.reporting.evaluated_table import EvaluatedTable

_DESCRIPTION = """\
Train one network per fold with the flags of `vertebra fit` and measure it on that fold. Classifiers are scored on all
samples together, with 95 % bootstrap intervals over groups (patients, recordings) where the data has them, detectors
and segmenters by mean and standard deviation over the folds. The last epoch of each training is measured and not the
best: one chosen on a fold's own samples would be optimistic. A finished fold is not trained again, a stopped one is
resumed. Writes a folder for each fold and, of classifiers, scores_val.csv with every sample.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the cross-validation and print its table."""
    parser = argparse.ArgumentParser(
        prog="vertebra folds", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folds", type=int, default=5, help="how many (default: 5)")
    parser.add_argument("--output", type=Path, help="folder of the run (default: runs/<name of the YAML>_folds)")
    args, flags = parser.parse_known_args(sys.argv[1:] if argv is None else argv)
    name = config_of(flags)
    if name is None:
        print("vertebra: no configuration; give one with -c TASK/NAME.yaml.", file=sys.stderr)
        return 2
    run = args.output or Path("runs") / f"{name}_folds"

    from vertebra.tasks.reporting.evaluated_table import read_evaluated, write_evaluated

    folders = []
    for fold in range(args.folds):
        folder = run / f"fold_{fold}"
        code = _measure_fold(folder, [*flags, "--data.folds", str(args.folds), "--data.fold", str(fold)])
        if code:
            return code
        folders.append(folder)
    if not (folders[0] / "scores_val.csv").exists():  # what is measured is no class of a sample
        metrics = [json.loads((folder / "metrics_val.json").read_text(encoding="utf-8")) for folder in folders]
        print("", *metrics_table(metrics), sep="\n")
        return 0
    try:
        tables = [read_evaluated(folder / "scores_val.csv") for folder in folders]
        whole = joined(tables)
    except ValueError as error:
        print(f"vertebra: {error}", file=sys.stderr)
        return 1
    write_evaluated(run / "scores_val.csv", whole)
    print("", *table_of(tables, whole), f"every sample: {run / 'scores_val.csv'}", sep="\n")
    return 0


def _measure_fold(folder: Path, flags: Sequence[str]) -> int:
    """Train on all folds but one and measure the last epoch on that one, unless that was done."""
    from vertebra.tools import train  # after the help, which has no need of torch

    done = folder / "measured"
    if done.exists():
        return 0
    last = folder / "checkpoints" / "last.ckpt"
    flags = [*flags, "--trainer.default_root_dir", str(folder)]
    resumed = ["--ckpt_path", "last"] if last.exists() else []
    code = train.main(["fit", *flags, *resumed]) or train.main(["validate", *flags, "--ckpt_path", str(last)])
    if not code:
        done.touch()
    return code


def metrics_table(metrics: Sequence[Mapping[str, float | None]]) -> list[str]:
    """Return the rows of a Markdown table: each fold, and mean and standard deviation over the folds.

    Args:
        metrics: the logged metrics of each fold, None where undefined.
    """
    names = list(metrics[0])
    header = ["fold", *names]
    each = [[str(fold), *map(_cell, (one[name] for name in names))] for fold, one in enumerate(metrics)]
    defined = [[value for one in metrics if (value := one[name]) is not None] for name in names]
    spread = [
        f"{_cell(fmean(values))} ± {_cell(stdev(values))}" if len(values) > 1 else _cell(next(iter(values), None))
        for values in defined
    ]
    rows = [header, ["---"] * len(header), *each, ["mean ± sd", *spread]]
    return [f"| {' | '.join(row)} |" for row in rows]


def _cell(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def joined(tables: Sequence[EvaluatedTable]) -> EvaluatedTable:
    """Return the samples of all folds as one table.

    Raises:
        ValueError: the folds are not those of one division: classes differ, or two of them have a sample or a group.
    """
    import numpy as np

    first = tables[0]
    for part in ("names", "groups"):
        values = np.concatenate([np.unique(getattr(table, part)) for table in tables])
        kinds, counts = np.unique(values, return_counts=True)
        if (counts > 1).any():
            raise ValueError(
                f"{str(kinds[counts > 1][0])!r} of the {part} is in two folds; they are of different runs. Take "
                "another --output."
            )
    if any(table.class_names != first.class_names for table in tables):
        raise ValueError(f"the folds have different classes than {first.class_names}; take another --output.")
    columns = zip(*(table[1:] for table in tables), strict=True)
    return type(first)(first.class_names, *map(np.concatenate, columns))


def table_of(tables: Sequence[EvaluatedTable], whole: EvaluatedTable) -> list[str]:
    """Return the rows of a Markdown table: each fold, and all samples together with intervals over draws of groups."""
    import numpy as np

    from vertebra.tasks.scoring.bootstrap import bootstrap

    def row(title: str, table: EvaluatedTable, cells: Iterable[str]) -> str:
        return f"| {' | '.join([title, str(len(table.names)), str(len(np.unique(table.groups))), *cells])} |"

    def once(table: EvaluatedTable) -> Mapping[str, float]:
        return scorer(table)(np.ones(len(table.names), dtype=np.int64))

    drawn = bootstrap(scorer(whole), whole.groups)
    together = [f"{value:.3f} ({drawn[name]})" for name, value in once(whole).items()]
    header = ["fold", "samples", "groups", *drawn]
    return [
        f"| {' | '.join(header)} |",
        f"|{'---|' * len(header)}",
        *(row(str(i), table, (f"{x:.3f}" for x in once(table).values())) for i, table in enumerate(tables)),
        row("all", whole, together),
    ]


def scorer(table: EvaluatedTable) -> Callable[[np.ndarray], Mapping[str, float]]:
    """Return what scores a draw (how often each sample is in it): accuracy, where there is one label, and AUROC."""
    import numpy as np

    from vertebra.tasks.medical.measures import mean_of_defined
    from vertebra.tasks.scoring.conditions import conditions_of
    from vertebra.tasks.scoring.roc import rankings

    conditions = conditions_of(table.labels, table.probs)
    ranked = rankings(conditions.truth, conditions.probs)
    correct = table.probs.argmax(axis=1) == table.labels if table.labels.ndim == 1 else None

    def score(times: np.ndarray) -> Mapping[str, float]:
        auroc = mean_of_defined(np.array([ranking.curve(times).auroc for ranking in ranked]))
        accuracy = {} if correct is None else {"accuracy": float(np.average(correct, weights=times))}
        return {**accuracy, "AUROC": auroc}

    return score


if __name__ == "__main__":
    sys.exit(main())

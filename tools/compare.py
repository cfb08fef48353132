"""`vertebra compare`: paired comparison of the AUROC of two runs, with bootstrap intervals and DeLong's test."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from vertebra.tasks.reporting.evaluated_table import EvaluatedTable
    from vertebra.tasks.scoring.bootstrap import Interval
    from vertebra.tasks.scoring.delong import DeLong

_DESCRIPTION = """\
Compare two runs that were evaluated on the same samples: the AUROC of each and their difference with 95 % bootstrap
intervals over groups, and the p-value of DeLong's test. Two classes are compared on the positive one, more classes one
against the rest, multi-label findings one by one.
"""


class Comparison(NamedTuple):
    """AUROC of two runs on one class.

    Attributes:
        name: of the class.
        positives: number of samples of the class.
        negatives: number of samples of the other classes.
        test: the two AUROCs, their difference and the p-value of DeLong's test.
        intervals: 95 % bootstrap intervals over groups: of the first AUROC, of the second, of their difference.
    """

    name: str
    positives: int
    negatives: int
    test: DeLong
    intervals: tuple[Interval, Interval, Interval]


def compare(first: EvaluatedTable, second: EvaluatedTable) -> list[Comparison]:
    """Compare two tables of the same samples in the same order; one result per class."""
    import numpy as np

    from vertebra.tasks.scoring.bootstrap import bootstrap
    from vertebra.tasks.scoring.conditions import conditions_of
    from vertebra.tasks.scoring.delong import delong_test
    from vertebra.tasks.scoring.roc import rankings

    conditions = [conditions_of(table.labels, table.probs) for table in (first, second)]
    truth = conditions[0].truth
    # sorted once: the 1000 resamples change only the weights
    ranked = [rankings(truth, part.probs) for part in conditions]

    # one resample for both runs: the difference is paired, so variation shared by the runs cancels
    def aurocs(counts: np.ndarray) -> dict[str, float]:
        values: dict[str, float] = {}
        for column, pair in enumerate(zip(*ranked, strict=True)):
            a, b = (ranking.curve(counts).auroc for ranking in pair)
            values |= {f"first/{column}": a, f"second/{column}": b, f"difference/{column}": a - b}
        return values

    resampled = bootstrap(aurocs, first.groups)
    comparisons = []
    for column, label in enumerate(conditions[0].classes):
        test = delong_test(truth[:, column], *(part.probs[:, column] for part in conditions))
        # not by ~: unknown findings are NaN, neither positive nor negative
        positives, negatives = (int((truth[:, column] == value).sum()) for value in (1, 0))
        intervals = (resampled[f"first/{column}"], resampled[f"second/{column}"], resampled[f"difference/{column}"])
        comparisons.append(Comparison(first.class_names[label], positives, negatives, test, intervals))
    return comparisons


def align_samples(first: EvaluatedTable, second: EvaluatedTable, files: Sequence[Path]) -> EvaluatedTable:
    """Return the second table with its samples in the order of the first.

    Args:
        first: the reference.
        second: the table to reorder.
        files: the files of both, for error messages.

    Raises:
        ValueError: classes, samples or labels differ.
    """
    import numpy as np

    first_file, second_file = files
    if first.class_names != second.class_names or first.labels.ndim != second.labels.ndim:
        raise ValueError(
            f"{first_file} has the {_describe(first)}, {second_file} the {_describe(second)}; the same classes are "
            "expected. Compare runs of one task on one data set."
        )
    pairs = ((first, second, first_file, second_file), (second, first, second_file, first_file))
    for table, other, file, other_file in pairs:
        missing = ~np.isin(table.names, other.names)
        if missing.any():
            raise ValueError(
                f"{str(table.names[missing][0])!r} is in {file}, but not in {other_file}; compare runs on the same "
                "split of the same data."
            )
    index = {name: row for row, name in enumerate(second.names.tolist())}
    second = second.only(np.array([index[name] for name in first.names.tolist()], dtype=np.int64))
    # NaN is an unknown finding, and equal only to another unknown one
    equal = (first.labels == second.labels) | (np.isnan(first.labels) & np.isnan(second.labels))
    if not equal.all():
        row = int(np.argwhere(~equal)[0, 0])
        raise ValueError(
            f"{str(first.names[row])!r} is {_label(first, row)} in {first_file}, but {_label(second, row)} in "
            f"{second_file}; compare runs on the same labels."
        )
    return second


def _describe(table: EvaluatedTable) -> str:
    return f"{'classes' if table.labels.ndim == 1 else 'findings'} {', '.join(table.class_names)}"


def _label(table: EvaluatedTable, row: int) -> str:
    if table.labels.ndim == 1:
        return repr(table.class_names[table.labels[row]])
    present = [name for name, value in zip(table.class_names, table.labels[row], strict=True) if value == 1]
    unknown = [name for name, value in zip(table.class_names, table.labels[row], strict=True) if math.isnan(value)]
    return f"{present}" + (f" (unknown: {unknown})" if unknown else "")


def main(argv: Sequence[str] | None = None) -> int:
    """Print the comparison as a table with a row per class."""
    parser = argparse.ArgumentParser(
        prog="vertebra compare", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "runs", nargs=2, type=Path, metavar="RUN", help="run folder with a scores_SPLIT.csv, or such a file"
    )
    parser.add_argument(
        "--split", choices=("val", "test"), default="test", help="split to read from run folders (default: test)"
    )
    args = parser.parse_args(sys.argv[1:] if argv is None else argv)

    from vertebra.tasks.reporting.evaluated_table import read_evaluated

    # a file is read as given, whatever --split is
    files = [run / f"scores_{args.split}.csv" if run.is_dir() else run for run in args.runs]
    try:
        first, second = (read_evaluated(file) for file in files)
        second = align_samples(first, second, files)
    except (ValueError, FileNotFoundError) as error:
        print(f"vertebra: {error}", file=sys.stderr)
        return 1
    _print(compare(first, second), first, args.runs)
    return 0


def _print(comparisons: Sequence[Comparison], table: EvaluatedTable, runs: Sequence[Path]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    output = Table(
        "class", "positive / negative", "AUROC of A (95 % CI)", "AUROC of B (95 % CI)", "A - B (95 % CI)", "p"
    )
    for comparison in comparisons:
        first, second, difference = comparison.intervals
        output.add_row(
            escape(comparison.name),  # class names may hold brackets, which rich takes for markup
            f"{comparison.positives} / {comparison.negatives}",
            _number(comparison.test.first, ".3f", first),
            _number(comparison.test.second, ".3f", second),
            _number(comparison.test.difference, "+.3f", difference),
            _number(comparison.test.p, ".3g"),
        )
    # a pipe has no width, and rich would wrap at 80 columns
    console = Console(width=None if sys.stdout.isatty() else 160)
    for name, run in zip("AB", runs, strict=True):
        print(f"{name}: {run}")
    console.print(output)
    samples, groups = len(table.names), len(set(table.groups.tolist()))
    print(f"CI: bootstrap over {groups} groups (patients, recordings) of {samples} samples. p: DeLong's test.")
    if groups < samples:
        print(
            "DeLong's test assumes independent samples, but some of these share a group: rely on the interval of the "
            "difference."
        )


def _number(value: float, form: str, interval: Interval | None = None) -> str:
    # an AUROC is undefined where a class has no positive or no negative sample
    if math.isnan(value):
        return "undefined"
    return f"{value:{form}}" + (f" ({interval})" if interval else "")


if __name__ == "__main__":
    sys.exit(main())

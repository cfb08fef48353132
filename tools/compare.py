"""`vertebra compare RUN RUN`: whether one run ranks the same samples better than another."""

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
Compare two runs that were measured on the same samples: the AUROC of both and the difference with their 95 %
intervals, and the p-value of DeLong's test, for the positive class of two, for each of more classes against the rest,
or for each finding. A run is its folder, with the scores_val.csv and scores_test.csv that it wrote, or such a file.
"""


class Row(NamedTuple):
    """What is said about one class.

    Attributes:
        name: the class.
        positives: samples that have it.
        negatives: samples that have it not.
        test: the AUROCs of the two runs, and their difference.
        intervals: of the two AUROCs and of their difference, 95 % over draws of groups.
    """

    name: str
    positives: int
    negatives: int
    test: DeLong
    intervals: tuple[Interval, Interval, Interval]


def compare(first: EvaluatedTable, second: EvaluatedTable) -> list[Row]:
    """Compare two tables of the same samples in the same order."""
    import numpy as np

    from vertebra.tasks.scoring.bootstrap import bootstrap
    from vertebra.tasks.scoring.conditions import conditions_of
    from vertebra.tasks.scoring.delong import delong_test
    from vertebra.tasks.scoring.roc import rankings

    conditions = [conditions_of(table.labels, table.probs) for table in (first, second)]
    truth = conditions[0].truth
    ranked = [rankings(truth, part.probs) for part in conditions]

    def aurocs(times: np.ndarray) -> dict[str, float]:
        values: dict[str, float] = {}
        for column, pair in enumerate(zip(*ranked, strict=True)):
            one, other = (ranking.curve(times).auroc for ranking in pair)
            values |= {f"first/{column}": one, f"second/{column}": other, f"difference/{column}": one - other}
        return values

    drawn = bootstrap(aurocs, first.groups)
    rows = []
    for column, label in enumerate(conditions[0].classes):
        test = delong_test(truth[:, column], *(part.probs[:, column] for part in conditions))
        positives, negatives = (int((truth[:, column] == value).sum()) for value in (1, 0))
        intervals = (drawn[f"first/{column}"], drawn[f"second/{column}"], drawn[f"difference/{column}"])
        rows.append(Row(first.class_names[label], positives, negatives, test, intervals))
    return rows


def same_samples(first: EvaluatedTable, second: EvaluatedTable, files: Sequence[Path]) -> EvaluatedTable:
    """Return the second table with the samples in the order of the first.

    Raises:
        ValueError: classes, samples or their labels differ.
    """
    import numpy as np

    here, there = files
    if first.class_names != second.class_names or first.labels.ndim != second.labels.ndim:
        raise ValueError(
            f"{here} has the {_told(first)}, {there} the {_told(second)}; only runs with the same classes compare."
        )
    for one, other, file, without in ((first, second, here, there), (second, first, there, here)):
        missing = ~np.isin(one.names, other.names)
        if missing.any():
            raise ValueError(
                f"{str(one.names[missing][0])!r} stands in {file}, but not in {without}; compare runs on the same "
                "split of the same data."
            )
    place = {name: row for row, name in enumerate(second.names.tolist())}
    second = second.only(np.array([place[name] for name in first.names.tolist()], dtype=np.int64))
    equal = (first.labels == second.labels) | (np.isnan(first.labels) & np.isnan(second.labels))
    if not equal.all():
        row = int(np.argwhere(~equal)[0, 0])
        raise ValueError(
            f"{str(first.names[row])!r} is {_label(first, row)} in {here}, but {_label(second, row)} in {there}; "
            "compare runs on the same labels."
        )
    return second


def _told(table: EvaluatedTable) -> str:
    return f"{'classes' if table.labels.ndim == 1 else 'findings'} {', '.join(table.class_names)}"


def _label(table: EvaluatedTable, row: int) -> str:
    if table.labels.ndim == 1:
        return repr(table.class_names[table.labels[row]])
    there = [name for name, value in zip(table.class_names, table.labels[row], strict=True) if value == 1]
    unknown = [name for name, value in zip(table.class_names, table.labels[row], strict=True) if value != value]
    return f"{there}" + (f" (unknown: {unknown})" if unknown else "")


def main(argv: Sequence[str] | None = None) -> int:
    """Print the comparison, a row for each class."""
    parser = argparse.ArgumentParser(
        prog="vertebra compare", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs=2, type=Path, metavar="RUN", help="folder of a run, or a scores_SPLIT.csv")
    parser.add_argument("--split", choices=("val", "test"), default="test", help="of folders (default: test)")
    args = parser.parse_args(sys.argv[1:] if argv is None else argv)

    from vertebra.tasks.reporting.evaluated_table import read_evaluated

    files = [run / f"scores_{args.split}.csv" if run.is_dir() else run for run in args.runs]
    try:
        first, second = (read_evaluated(file) for file in files)
        second = same_samples(first, second, files)
    except (ValueError, FileNotFoundError) as error:
        print(f"vertebra: {error}", file=sys.stderr)
        return 1
    _print(compare(first, second), first, args.runs)
    return 0


def _print(rows: Sequence[Row], table: EvaluatedTable, runs: Sequence[Path]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    shown = Table("class", "with / without", "A: AUROC (95 %)", "B: AUROC (95 %)", "A - B (95 %)", "p")
    for row in rows:
        one, other, both = row.intervals
        shown.add_row(
            escape(row.name),
            f"{row.positives} / {row.negatives}",
            _number(row.test.first, ".3f", one),
            _number(row.test.second, ".3f", other),
            _number(row.test.difference, "+.3f", both),
            _number(row.test.p, ".3g"),
        )
    console = Console(width=None if sys.stdout.isatty() else 160)
    for name, run in zip("AB", runs, strict=True):
        print(f"{name}: {run}")
    console.print(shown)
    samples, groups = len(table.names), len(set(table.groups.tolist()))
    print(f"Intervals: draws of {groups} groups (patients, recordings) of {samples} samples. p: DeLong's test.")
    if groups < samples:
        print("The test takes samples as independent. Here some share a group: go by the interval of the difference.")


def _number(value: float, form: str, interval: Interval | None = None) -> str:
    if math.isnan(value):
        return "undefined"
    return f"{value:{form}}" + (f" ({interval})" if interval else "")


if __name__ == "__main__":
    sys.exit(main())

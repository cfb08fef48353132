"""`vertebra check`: read a data set and report every fault with its file, before any training."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING

from vertebra.tasks.loading.files.faults import UnreadableFile
from vertebra.tools.checks.format_names import format_names

if TYPE_CHECKING:
    from vertebra.tasks.loading.files.faults import Fault
    from vertebra.tools.checks.source import Comparable, Content, Split

_DESCRIPTION = """\
Read data sets and report every fault: the file, what is wrong, and its kind.
A path is a file of one of these formats, a folder that holds one, or a folder that holds train, val and test of it:
{formats}
Pass the splits together (train.json val.json) to find files that are in several of them and, for scans, patients and
identical pixels. The first split, or train, defines the classes. vertebra fit PATH trains on whatever passes.
Exit code: 0 without faults, 1 with faults, 2 for a wrong call.
"""
_TASKS = ("detection", "segmentation", "classification", "video", "medical")
_SHOWN = 3  # faults of one kind that are listed; the others are counted


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code; faults go to stdout, progress and wrong calls to stderr."""
    parser = make_parser()
    options = parser.parse_args(argv)
    if options.images is not None and not options.images.is_dir():
        parser.error(f"--images {options.images} is no folder; give the one that file names are relative to")
    fault = _rule_fault(options)
    if fault:
        parser.error(fault)
    try:
        splits = _find_splits(options)
        return 1 if _check(splits, _untrained(splits, options.paths), None if options.all else _SHOWN) else 0
    except (FileNotFoundError, UnreadableFile) as error:
        parser.error(str(error))  # leaves with 2
    except KeyboardInterrupt:
        print("vertebra check: interrupted", file=sys.stderr)
        return 130  # what shells give a command that Ctrl-C ended


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command, whose defaults `vertebra fit` searches a data set with."""
    parser = argparse.ArgumentParser(
        prog="vertebra check",
        usage="vertebra check PATH [PATH ...] [flags]",
        description=_DESCRIPTION.format(formats="\n".join(_formats())),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a data set")
    parser.add_argument(
        "--images",
        type=Path,
        metavar="FOLDER",
        help="folder to which file names in COCO's *.json and in *.csv are relative",
    )
    parser.add_argument(
        "--all",
        action="store_true",
        help=f"list every fault (default: {_SHOWN} of each kind)",
    )
    parser.add_argument("--split", choices=("train", "val", "test"), help="split of a YOLO data set (default: all)")
    parser.add_argument(
        "--orientation",
        choices=("shown", "stored"),
        help="detection: whether boxes on images with an EXIF rotation refer to what a viewer shows, or to pixels as "
        "stored (default: inferred from the boxes; reported where it cannot be)",
    )
    parser.add_argument(
        "--group",
        metavar="COLUMN",
        help="CSV column with the source of a file (recording, camera), which no two splits share",
    )
    parser.add_argument(
        "--patient",
        metavar="COLUMN",
        help="CSV column with the patient of a scan, whom no two splits share",
    )
    parser.add_argument(
        "--study", metavar="COLUMN", help="CSV column with the study of a scan, which may have several images"
    )
    parser.add_argument(
        "--labels",
        nargs="+",
        metavar="COLUMN",
        help="CSV columns of scans: one with the label, or findings with 0, 1 or no value (default: label)",
    )
    parser.add_argument(
        "--classes",
        help="meaning of mask values: camvid, cityscapes, voc, or a file with one name per line or lines `R G B name` "
        "(default: classes.txt beside the folders)",
    )
    parser.add_argument(
        "--ignored", type=int, nargs="+", default=[], help="mask values of unlabeled pixels, beside 255"
    )
    parser.add_argument(
        "--channels",
        type=int,
        metavar="N",
        help="number of bands to read from each image, as data.pixels.channels of `vertebra fit` (default: red, green "
        "and blue, as a viewer shows them)",
    )
    parser.add_argument(
        "--white",
        type=float,
        metavar="VALUE",
        help="value of white in images of more than 8 bits, as data.pixels.white",
    )
    parser.add_argument(
        "--black", type=float, default=0.0, metavar="VALUE", help="value of black, as data.pixels.black"
    )
    return parser


def _formats() -> list[str]:
    """Return the lines of the help that list the formats of each task."""
    lines = (f"{task}: {', '.join(format_names(task))}" for task in _TASKS)
    return [part for line in lines for part in wrap(line, 118, initial_indent="  ", subsequent_indent="    ")]


def _rule_fault(options: argparse.Namespace) -> str | None:
    """Return what is wrong with the flags that say how images are read, or None."""
    from vertebra.tools.checks.source import pixels_of

    try:
        pixels_of(options)
    except ValueError as error:
        return str(error).replace("pixels.", "--")
    return None


def _find_splits(options: argparse.Namespace) -> list[Split]:
    from vertebra.tools.checks.finders import find_splits

    return [split for path in dict.fromkeys(options.paths) for split in find_splits(path, options).splits]


def _untrained(splits: Sequence[Split], paths: Sequence[Path]) -> list[Fault]:
    """Return the fault of a data set that lacks its training split; of several paths, another may be it."""
    from vertebra.tasks.loading.files.faults import NO_TRAINING_SPLIT, Fault
    from vertebra.tools.checks.split_names import lacks_training

    message = lacks_training([split.source for split in splits], paths[0]) if len(paths) == 1 else ""
    return [Fault(NO_TRAINING_SPLIT, str(paths[0]), message)] if message else []


def _check(found: Sequence[Split], untrained: Sequence[Fault], shown: int | None) -> int:
    """Print the faults of every split, then those of the whole, and return how many there are."""
    from vertebra.tasks.loading.files.faults import MISSING_FILE, UNREADABLE_ANNOTATIONS, Fault
    from vertebra.tasks.loading.leaks import find_leaks, find_shared_groups

    kinds: Counter[str] = Counter()
    splits: dict[str, list[str]] = {}
    groups: dict[str, list[str]] = {}
    comparable: list[Comparable] = []
    for split in found:
        file, title = str(split.source.path), split.source.title
        try:
            content = split.read()
        except (FileNotFoundError, ValueError) as error:
            kind = MISSING_FILE if isinstance(error, FileNotFoundError) else UNREADABLE_ANNOTATIONS
            reason = str(error).removeprefix(file).lstrip(": ")
            kinds += _print_section(title, [Fault(kind, file, reason)], "not read", shown)
        else:
            faults = [*content.faults, *_faults_of_files(content, title)]
            count = len(content.files) if content.num_samples is None else content.num_samples
            kinds += _print_section(title, faults, f"{count} {content.things}, {content.summary()}", shown)
            if content.comparable is not None:
                comparable.append(content.comparable)
                continue
            splits.setdefault(split.scope, []).extend(content.files)
            groups.setdefault(split.scope, []).extend(content.groups or [])
    if untrained:
        kinds += _print_section("the whole", untrained, f"splits: {len(found)}", shown)
    if max(len(splits), len(comparable)) > 1:
        leaks = [*find_leaks(splits), *find_shared_groups(groups)]
        leaks += [leak for one, other in combinations(comparable, 2) for leak in one.shared_with(other)]
        kinds += _print_section("between the splits", leaks, f"{len(splits) + len(comparable)} splits compared", shown)
    print(f"faults in all: {kinds.total()}")
    return kinds.total()


def _print_section(title: str, faults: Sequence[Fault], summary: str, shown: int | None) -> Counter[str]:
    """Print the faults of a split, of each kind the first ones, and return how many there are of each kind."""
    kinds: Counter[str] = Counter()
    lines: list[str] = []
    for fault in faults:
        kinds[fault.kind] += 1
        if shown is None or kinds[fault.kind] <= shown:
            lines.append(str(fault))
    if shown is not None:
        lines += [
            f"... and {count - shown} more: {kind} (--all lists them)" for kind, count in kinds.items() if count > shown
        ]
    counts = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common())
    print(f"== {title}", *lines, summary, f"faults: {counts or 'none'}", "", sep="\n")
    return kinds


def _faults_of_files(content: Content, title: str) -> list[Fault]:
    """Collect the faults of the files behind a progress bar, which only a terminal shows."""
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress

    # stdout stays as it is: it may be a file, and the bar's console is stderr
    console = Console(stderr=True)
    with Progress(console=console, transient=True, redirect_stdout=False, disable=not console.is_terminal) as progress:
        bar = progress.add_task(escape(title), total=len(content.files))
        return list(content.check_files(lambda: progress.advance(bar)))


if __name__ == "__main__":
    sys.exit(main())

"""`vertebra check`: read a data set and report every fault with its file, before any training."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from tasks.faults import Fault

_DESCRIPTION = """\
Read data sets and report every fault, one a line: the file, what is wrong, and its kind.
A path is COCO's *.json, YOLO's data.yaml, VOC's list *.txt or folder of *.xml, or a folder that holds one of these.
Give the splits together (train.json val.json), and images that stand in more than one of them are found, too.
The exit code is 0 where all is well, 1 where there is a fault, 2 where the call is wrong.
"""


class Content(NamedTuple):
    """What the annotations of a split say.

    Attributes:
        files: the image files.
        counts: number of objects of each class.
        faults: those of the annotations.
        check_files: yields the faults of the files, and calls its argument once for each file.
    """

    files: Sequence[str]
    counts: dict[str, int]
    faults: list[Fault]
    check_files: Callable[[Callable[[], object]], Iterator[Fault]]


class Source(NamedTuple):
    """One split of a data set.

    Attributes:
        title: what it is called in the report.
        split: sources of one split may share files, those of different splits may not.
        file: where it comes from.
        read: reads it; raises ValueError or FileNotFoundError where it cannot be read at all.
    """

    title: str
    split: str
    file: Path
    read: Callable[[], Content]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code; faults go to stdout, progress and wrong calls to stderr."""
    parser = argparse.ArgumentParser(
        prog="vertebra check", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a data set")
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="folder that COCO's file names are relative to")
    parser.add_argument("--split", choices=("train", "val", "test"), help="split of a YOLO data set (default: all)")
    options = parser.parse_args(argv)
    if options.images is not None and not options.images.is_dir():
        parser.error(f"--images {options.images} is no folder; give the one that file names are relative to")
    try:
        sources = _find_sources(options)
        return 1 if _check(sources) else 0
    except FileNotFoundError as error:
        parser.error(str(error))  # leaves with 2
    except KeyboardInterrupt:
        print("vertebra check: interrupted", file=sys.stderr)
        return 130  # what shells give a command that Ctrl-C ended


def _find_sources(options: argparse.Namespace) -> list[Source]:
    sources = []
    for path in dict.fromkeys(options.paths):
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist; give an annotation file, or a folder that holds some")
        found = next(filter(None, (find(path, options) for find in _FINDERS)), None)
        if found is None:
            raise FileNotFoundError(f"{path} holds no data set that is known here; see vertebra check --help")
        sources += found
    return sources


def _check(sources: Sequence[Source]) -> int:
    """Print the faults of every source, then those between splits, and return how many there are."""
    from tasks.faults import MISSING_FILE, UNREADABLE_ANNOTATIONS, Fault
    from tasks.leaks import find_leaks

    kinds: Counter[str] = Counter()
    splits: dict[str, list[str]] = {}
    for source in sources:
        try:
            content = source.read()
        except (FileNotFoundError, ValueError) as error:
            kind = MISSING_FILE if isinstance(error, FileNotFoundError) else UNREADABLE_ANNOTATIONS
            reason = str(error).removeprefix(str(source.file)).lstrip(": ")
            kinds += _print_section(source.title, [Fault(kind, str(source.file), reason)], "not read")
        else:
            faults = content.faults + _faults_of_files(content, source.title)
            classes = ", ".join(f"{name} {count}" for name, count in content.counts.items())
            told = f"{len(content.files)} images, {sum(content.counts.values())} boxes{classes and f': {classes}'}"
            kinds += _print_section(source.title, faults, told)
            splits.setdefault(source.split, []).extend(content.files)
    if len(splits) > 1:
        kinds += _print_section("between the splits", list(find_leaks(splits)), f"{len(splits)} splits compared")
    print(f"faults in all: {kinds.total()}")
    return kinds.total()


def _print_section(title: str, faults: Sequence[Fault], told: str) -> Counter[str]:
    kinds = Counter(fault.kind for fault in faults)
    counts = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common())
    print(f"== {title}", *faults, told, f"faults: {counts or 'none'}", "", sep="\n")
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


def _find_boxes(path: Path, options: argparse.Namespace) -> list[Source]:
    from tasks.detection.formats import find_sources

    sources = []
    for file, split in find_sources(path, options.split):
        is_yolo = file.suffix.lower() in (".yaml", ".yml")
        title = f"{file} {split}" if is_yolo else str(file)
        # the files of one folder overlap by design (VOC's train and trainval); a YOLO's splits do not
        read = partial(_read_boxes, file, options.images if file.suffix.lower() == ".json" else None, split)
        sources.append(Source(title, title if is_yolo else str(path), file, read))
    return sources


def _read_boxes(file: Path, images: Path | None, split: str) -> Content:
    import numpy as np

    from tasks.detection.check import check_images
    from tasks.detection.formats import read_annotations

    annotations, faults = read_annotations(file, images, split)
    counts = np.bincount(annotations.labels, minlength=len(annotations.class_names) + 1)[1:]
    return Content(
        files=annotations.files.tolist(),
        counts=dict(zip(annotations.class_names, counts.tolist(), strict=True)),
        faults=faults,
        check_files=partial(check_images, annotations),
    )


# what a path may hold: each lists the sources that it finds there, and the first that finds any has the path
_FINDERS: tuple[Callable[[Path, argparse.Namespace], list[Source]], ...] = (_find_boxes,)


if __name__ == "__main__":
    sys.exit(main())

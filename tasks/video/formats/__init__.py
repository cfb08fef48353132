"""Video formats: folders, tables, and the lists of Kinetics, UCF101, HMDB51 and Something-Something."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.loading.formats import Format, Source, read_source
from vertebra.tasks.loading.labeled_files import LabeledFiles
from vertebra.tasks.video.formats import folders, hmdb51, lines, something, table

# their option is the column of a table with the source of each video, or None
FORMATS: tuple[Format[LabeledFiles], ...] = (
    hmdb51.HMDB51,
    folders.FOLDERS,
    something.SOMETHING,
    table.TABLE,
    lines.LINES,
)


def read_labeled_videos(
    root: Path, source: str, class_names: Sequence[str] | None = None, group: str | None = None
) -> tuple[LabeledFiles, list[Fault]]:
    """Read one split.

    Args:
        root: folder that the split and relative paths start from.
        source: a folder with one folder a class, which holds video files or folders of frames; a CSV with the columns
            `path` and `label`, or lines `path label` with no head (Kinetics); UCF101's `trainlist01.txt` or HMDB51's
            folder of `*_split1.txt`, followed by `:train` or `:test`; or Something-Something's JSON.
        class_names: classes of the training split, which then number the labels; None numbers those that are there.
        group: CSV column with the source of each video.

    Returns:
        The videos that can be used, and the faults of the others.

    Raises:
        FileNotFoundError: the source does not exist.
        ValueError: it is of none of the formats, or cannot be read as the one it is of.
    """
    name, _, split = source.partition(":")
    path = root / name
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; give the split's folder or list below data.root.")
    # of every other format a split is a path of its own; passed over, it would train on all
    if split and not hmdb51.HMDB51.matches(path):
        raise ValueError(
            f"{path}:{split}: holds no list *_test_split1.txt; expected HMDB51's folder of lists before :train or "
            ":test. Leave the split out."
        )
    return read_source(FORMATS, Source(path, split, root), group, class_names)

"""Reading of a small data set before torch is imported, so that a fault is answered at once."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from vertebra.tasks.classification.usable_images import usable_images
from vertebra.tasks.detection.usable_annotations import usable_annotations
from vertebra.tasks.loading.fault_policy import FaultPolicy
from vertebra.tasks.loading.files.listing import walk
from vertebra.tasks.loading.formats import Source
from vertebra.tasks.medical.formats.study_options import Columns
from vertebra.tasks.medical.leaks import shared_patients
from vertebra.tasks.medical.studies import Kind
from vertebra.tasks.medical.usable_studies import usable_studies
from vertebra.tasks.segmentation.formats import Split
from vertebra.tasks.segmentation.usable_masks import usable_masks
from vertebra.tasks.video.usable_videos import usable_videos
from vertebra.tools.arguments.command_line import Flag

# of a data set that is read in about a second, and once more by the run
MOST_FILES = 5000
MOST_BYTES = 8 << 20  # of its annotation files
MOST_MASKS = 4

# root, name of the split, values of the flags behind `--data.`, classes of the training split -> records
Reader = Callable[[Path, str, Mapping[str, str], Sequence[str] | None], Any]


def refuse_broken(task: str, splits: Mapping[str, Source], flags: Sequence[Flag]) -> None:
    """Read the splits of a small data set with the arguments of a recipe, as the data module of the run will.

    Args:
        task: of the recipe.
        splits: source of each split that there is.
        flags: of the recipe.

    Raises:
        FileNotFoundError: a file does not exist.
        ValueError: the data set has faults that the run would stop at.
        UnreadableFile: a file cannot be read.
    """
    given = {flag.name.removeprefix("--data."): flag.value or "" for flag in flags}
    root = Path(given["root"])
    if not _is_small(root, splits.values()):
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # which the run repeats
        train = _READERS[task](root, "train", given, None)
        for split in splits:
            if split != "train":
                records = _READERS[task](root, split, given, train.class_names)
                if task == "medical":
                    FaultPolicy().handle([leak.fault for leak in shared_patients(train, records)], {})


def _is_small(root: Path, sources: Iterable[Source]) -> bool:
    annotations = [source.path for source in sources if source.path.is_file()]
    folder = root if root.is_dir() else root.parent
    files = (name for _, _, names in walk(folder) for name in names)
    return sum(file.stat().st_size for file in annotations) <= MOST_BYTES and (
        root.is_file() or sum(1 for _ in islice(files, MOST_FILES + 1)) <= MOST_FILES
    )


def _column(given: Mapping[str, str], name: str) -> str | None:
    value = given.get(name, "null")
    return None if value == "null" else value


def _boxes(root: Path, split: str, given: Mapping[str, str], class_names: Sequence[str] | None, masks: bool) -> Any:
    images = given.get(f"{split}.images")
    source = Source(root / given[f"{split}.annotations"], split, root / images if images else None)
    return usable_annotations(source, class_names, None, masks, FaultPolicy())


def _masks(root: Path, split: str, given: Mapping[str, str], class_names: Sequence[str] | None) -> Any:
    wanted = Split(given[f"{split}.masks"], given[f"{split}.images"])
    return usable_masks(root, wanted, split, class_names, None, (), FaultPolicy(), MOST_MASKS)


def _images(root: Path, split: str, given: Mapping[str, str], class_names: Sequence[str] | None) -> Any:
    return usable_images(root, given[split], split, class_names, _column(given, "group"), FaultPolicy())


def _videos(root: Path, split: str, given: Mapping[str, str], class_names: Sequence[str] | None) -> Any:
    return usable_videos(root, given[split], split, class_names, _column(given, "group"), FaultPolicy())


def _studies(root: Path, split: str, given: Mapping[str, str], class_names: Sequence[str] | None) -> Any:
    kind: Kind = "findings" if given.get("kind") == "findings" else "classes"
    columns = Columns(patient=_column(given, "columns.patient"))
    return usable_studies(root, given[split], split, class_names, kind, columns, FaultPolicy())


_READERS: Mapping[str, Reader] = {
    "classification": _images,
    "detection": partial(_boxes, masks=False),
    "instances": partial(_boxes, masks=True),
    "medical": _studies,
    "segmentation": _masks,
    "video": _videos,
}

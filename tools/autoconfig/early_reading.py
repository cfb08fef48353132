"""Reading of a small data set before torch is imported, so that a fault is answered at once."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations, islice
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
from vertebra.tools.arguments.short_flags import task_of
from vertebra.tools.arguments.split_remedies import with_remedy
from vertebra.tools.autoconfig.reading_arguments import reading_arguments

# of a data set that is read in about a second, and once more by the run
MOST_FILES = 5000
MOST_BYTES = 8 << 20  # of its annotation files
MOST_MASKS = 4

# arguments of the data module, name of the split, classes of the training split, reaction to faults -> records
Reader = Callable[[Mapping[str, Any], str, Sequence[str] | None, FaultPolicy], Any]


def refuse_broken(
    config: Mapping[str, Any], flags: Sequence[Flag], splits: Sequence[str], class_names: Sequence[str] | None = None
) -> None:
    """Read splits of a small data set with the arguments of a configuration, as the data module of the run will.

    Nothing is read where an argument is of another kind than those known here; the run then finds the faults.

    Args:
        config: of the run.
        flags: long ones, which change it.
        splits: that are read; of a held-out part its training split is.
        class_names: classes of a checkpoint; None to read those of the configuration or of the training split.

    Raises:
        FileNotFoundError: a file does not exist.
        ValueError: the data set has faults that the run would stop at.
        UnreadableFile: a file cannot be read.
    """
    read, given = _READERS.get(task_of(config)), reading_arguments(config, flags)
    if read is None or given is None or not _is_small(given, splits):
        return
    names = class_names or given.get("class_names")
    policy = FaultPolicy(given.get("missing") or "error", bool(names))
    holds_out = given.get("val_fraction") or given.get("folds")
    records: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # which the run repeats
        for split in splits:
            if split == "val" and holds_out:
                continue
            try:
                records[split] = read(given, split, names, policy)
            except (ValueError, FileNotFoundError) as error:
                raise with_remedy(error, split) from error
            names = names or records[split].class_names
        if task_of(config) == "medical" and given.get("leak") != "drop" and not holds_out:
            for pair in combinations(records.values(), 2):
                policy.handle([leak.fault for leak in shared_patients(*pair)], {})


def _is_small(given: Mapping[str, Any], splits: Sequence[str]) -> bool:
    root = Path(given["root"])
    values = [given.get(split) for split in splits]
    names = [name for value in values for name in (value.values() if isinstance(value, Mapping) else [value]) if name]
    # of one split of a file, FILE:SPLIT
    paths = {root, *(root / part for name in names for part in (name, name.rpartition(":")[0]))}
    folder = root if root.is_dir() else root.parent
    files = (name for _, _, found in walk(folder) for name in found)
    return sum(path.stat().st_size for path in paths if path.is_file()) <= MOST_BYTES and (
        root.is_file() or sum(1 for _ in islice(files, MOST_FILES + 1)) <= MOST_FILES
    )


def _boxes(given: Mapping[str, Any], split: str, class_names: Sequence[str] | None, policy: FaultPolicy) -> Any:
    root, wanted = Path(given["root"]), given[split]
    images = root / wanted["images"] if wanted.get("images") else None
    source = Source(root / wanted["annotations"], split, images)
    return usable_annotations(source, class_names, given.get("orientation"), bool(given.get("masks")), policy)


def _masks(given: Mapping[str, Any], split: str, class_names: Sequence[str] | None, policy: FaultPolicy) -> Any:
    root, wanted, ignored = Path(given["root"]), Split(**given[split]), given.get("ignored") or ()
    return usable_masks(root, wanted, split, class_names, given.get("classes"), ignored, policy, MOST_MASKS)


def _images(given: Mapping[str, Any], split: str, class_names: Sequence[str] | None, policy: FaultPolicy) -> Any:
    return usable_images(Path(given["root"]), given[split], split, class_names, given.get("group"), policy)


def _videos(given: Mapping[str, Any], split: str, class_names: Sequence[str] | None, policy: FaultPolicy) -> Any:
    return usable_videos(Path(given["root"]), given[split], split, class_names, given.get("group"), policy)


def _studies(given: Mapping[str, Any], split: str, class_names: Sequence[str] | None, policy: FaultPolicy) -> Any:
    kind: Kind = given.get("kind", "classes")
    columns = Columns(**(given.get("columns") or {}))
    return usable_studies(Path(given["root"]), given[split], split, class_names, kind, columns, policy)


_READERS: Mapping[str, Reader] = {
    "classification": _images,
    "detection": _boxes,
    "medical": _studies,
    "segmentation": _masks,
    "video": _videos,
}

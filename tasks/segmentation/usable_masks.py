"""The images and masks of a split that a run can use."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from vertebra.tasks.loading.fault_policy import FaultPolicy
from vertebra.tasks.loading.files import faults
from vertebra.tasks.segmentation.coverage import MOST_MASKS, Coverage
from vertebra.tasks.segmentation.formats import Split, read_split
from vertebra.tasks.segmentation.labeled_masks import LabeledMasks

# by leaving them out; any other fault stops loading
REPAIRED = {
    **dict.fromkeys((faults.ORPHAN_LABELS, faults.DEGENERATE_OUTLINE, faults.OUTSIDE_OUTLINE), "left out"),
    **dict.fromkeys((faults.DUPLICATE_FILE,), "left out"),
    faults.SIMILAR_CLASSES: "kept apart",
}


def usable_masks(
    root: Path,
    wanted: Split,
    split: str,
    class_names: Sequence[str] | None,
    classes: str | None,
    ignored: Sequence[int],
    policy: FaultPolicy,
    most_masks: int = MOST_MASKS,
) -> LabeledMasks:
    """Read a split, look at some of its masks, and repair or refuse its faults.

    Args:
        root: folder of the data set.
        wanted: where the files of the split are, below `root`.
        split: its name.
        class_names: classes of the training split; None to read them.
        classes: see `formats.read_split`, as of the next.
        ignored: more values of unlabeled pixels.
        policy: what is done about faults.
        most_masks: limit of the masks that are looked at for a class that none before has.

    Raises:
        FileNotFoundError: a file or folder does not exist.
        ValueError: the source cannot be read, has no mask, or has faults that loading cannot repair.
        UnreadableFile: a mask that was looked at has another size than its image, or values without a class.
    """
    records, found = read_split(root, wanted, classes, ignored, class_names)
    policy.handle(found, {**REPAIRED, **({faults.UNKNOWN_CATEGORY: "left out"} if split != "train" else {})})
    if not len(records):
        raise ValueError(f"{wanted}: no image has a mask; data.{split} needs some.")
    coverage = Coverage(records, str(root / wanted.masks))
    # not of every mask, which would take minutes before the first step
    coverage.read_sample(most_masks)
    if coverage.unreadable and policy.missing == "error":
        first = coverage.unreadable[0]
        raise type(first)(f"{first} Or leave such files out with data.missing=skip.")
    policy.handle(list(coverage.faults()), {faults.ONE_CLASS: "kept"} if split != "train" else {})
    # of a sample of the masks, an absent class may be in the others
    if split == "train" and coverage.num_masks == len(records):
        for fault in coverage.empty_classes():
            warnings.warn(f"{fault} Nothing is learned about it.", stacklevel=2)
    return records

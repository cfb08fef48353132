"""The images of a split that a run can use."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vertebra.tasks.classification.formats import read_labeled_images
from vertebra.tasks.classification.labeled_images import LabeledImages
from vertebra.tasks.loading.class_names import warn_of_absent
from vertebra.tasks.loading.fault_policy import FaultPolicy
from vertebra.tasks.loading.files import faults
from vertebra.tasks.loading.folds import check_groups

# what loading does about faults of these kinds; any other stops it
REPAIRED = {faults.DUPLICATE_FILE: "left out", faults.SIMILAR_CLASSES: "kept apart"}


def usable_images(
    root: Path, source: str, split: str, class_names: Sequence[str] | None, group: str | None, policy: FaultPolicy
) -> LabeledImages:
    """Read a split, and repair or refuse its faults.

    Args:
        root: see `formats.read_labeled_images`, as of the next.
        source: the split, below `root`.
        split: its name.
        class_names: classes of the training split; None to read them.
        group: CSV column with the source of each image.
        policy: what is done about faults.

    Raises:
        FileNotFoundError: the source, or an image of it, does not exist.
        ValueError: the source cannot be read, holds no images, or has faults that loading cannot repair.
    """
    images, found = read_labeled_images(root, source, class_names, group)
    # a class may be empty where nothing is trained on it
    policy.handle(found, REPAIRED if split == "train" else {**REPAIRED, faults.EMPTY_CLASS: "left out"}, split)
    if source.lower().endswith(".csv"):  # the files of a folder were listed a moment ago
        images = images.only(policy.existing(images.names))
    check_groups(root / source, group, images.groups)
    if not len(images):
        raise ValueError(f"{root / source}: holds no images; data.{split} needs some.")
    if split != "train":
        warn_of_absent(root / source, images.class_names, images.labels)
    return images

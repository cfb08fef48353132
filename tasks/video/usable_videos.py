"""The videos of a split that a run can use."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vertebra.tasks.loading.class_names import warn_of_absent
from vertebra.tasks.loading.fault_policy import FaultPolicy
from vertebra.tasks.loading.files import faults
from vertebra.tasks.loading.folds import check_groups
from vertebra.tasks.loading.labeled_files import LabeledFiles
from vertebra.tasks.video.formats import read_labeled_videos

# what loading does about faults of these kinds; any other stops it
REPAIRED = {faults.DUPLICATE_FILE: "left out", faults.SIMILAR_CLASSES: "kept apart"}


def usable_videos(
    root: Path, source: str, split: str, class_names: Sequence[str] | None, group: str | None, policy: FaultPolicy
) -> LabeledFiles:
    """Read a split, and repair or refuse its faults.

    Args:
        root: see `formats.read_labeled_videos`, as of the next.
        source: the split, below `root`.
        split: its name.
        class_names: classes of the training split; None to read them.
        group: CSV column with the source of each video.
        policy: what is done about faults.

    Raises:
        FileNotFoundError: the source, or a video of it, does not exist.
        ValueError: the source cannot be read, holds no videos, or has faults that loading cannot repair.
    """
    videos, found = read_labeled_videos(root, source, class_names, group)
    # a class may be empty where nothing is trained on it
    policy.handle(found, REPAIRED if split == "train" else {**REPAIRED, faults.EMPTY_CLASS: "left out"}, split)
    if not (root / source).is_dir():  # the files of a folder were listed a moment ago
        videos = videos.only(policy.existing(videos.names))
    check_groups(root / source, group, videos.groups)
    if not len(videos):
        raise ValueError(f"{root / source}: holds no videos; data.{split} needs some.")
    if split != "train":
        warn_of_absent(root / source, videos.class_names, videos.labels)
    return videos

"""Videos of a list: where each is, and the number of its label."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vertebra.tasks.loading.class_names import class_faults, ordered_classes
from vertebra.tasks.loading.class_tables import REMEDY
from vertebra.tasks.loading.data_root import find_outside
from vertebra.tasks.loading.files import faults
from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.loading.labeled_files import LabeledFiles
from vertebra.tasks.video.video_files import VIDEO_SUFFIXES


def existing_video(root: Path, path: str) -> str:
    """Return where a video is: at its path, with one of the known endings, or as a folder of frames."""
    # lists have names without a suffix, or with that of files that were converted or unpacked since
    plain = root / path
    if plain.exists():
        return str(plain)
    below = [plain.with_name(plain.name + suffix) for suffix in sorted(VIDEO_SUFFIXES)]
    frames = plain.with_suffix("")
    return str(next((file for file in (*below, frames) if file.exists()), plain))


def numbered(
    names: list[str], labels: list[str], class_names: Sequence[str] | None, file: Path, root: Path
) -> tuple[LabeledFiles, list[Fault]]:
    """Number the labels, and report videos twice or outside of `root` and labels that are not among `class_names`."""
    found: list[Fault] = []
    if class_names is None:
        class_names = ordered_classes(labels)
        found += class_faults(file, class_names)
    label_of = {name: label for label, name in enumerate(class_names)}
    # before any is opened: a path outside may be a device
    outside = find_outside(file, names, [root, file.parent], REMEDY)
    found += outside.values()
    kept: dict[str, str] = {}
    for i, (name, label) in enumerate(zip(names, labels, strict=True)):
        if i in outside:
            continue
        if label not in label_of:
            message = f"{name}: label {label!r} is not among the training split's."
            found.append(Fault(faults.UNKNOWN_CATEGORY, str(file), message, label))
        elif name in kept:
            kind = faults.DUPLICATE_FILE if kept[name] == label else faults.CONFLICTING_LABELS
            found.append(Fault(kind, str(file), f"{name} comes twice, first as {kept[name]!r}; keep one of them."))
        else:
            kept[name] = label
    numbers = np.array([label_of[label] for label in kept.values()], dtype=np.int64)
    return LabeledFiles(tuple(class_names), np.array(list(kept), dtype=str), numbers), found

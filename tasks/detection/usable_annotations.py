"""The annotations of a split that a run can use."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vertebra.tasks.detection.annotations.annotations import Annotations
from vertebra.tasks.detection.annotations.orientation import Orientation
from vertebra.tasks.detection.formats import read_annotations
from vertebra.tasks.loading.class_names import warn_of_absent
from vertebra.tasks.loading.fault_policy import FaultPolicy
from vertebra.tasks.loading.files import faults
from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.loading.formats import Source

# What loading does about annotations that are not as they should be; any other fault stops it.
REPAIRED = {
    faults.DEGENERATE_BOX: "dropped",
    faults.OUTSIDE_BOX: "dropped",
    faults.BOX_OVER_BORDER: "clipped",
    faults.DUPLICATE_BOX: "kept",
    faults.CONFIDENCE: "ignored",
    faults.UNUSABLE_SIZE: "replaced by the image's own size",
    faults.EXIF_ROTATION: "adapted to",
    faults.ORPHAN_LABELS: "passed over",
    faults.BRUSH_MASKS: "taken as objects",
    faults.DEGENERATE_OUTLINE: "dropped",
    faults.OUTSIDE_OUTLINE: "dropped",
}
DROPPED = (faults.DEGENERATE_BOX, faults.OUTSIDE_BOX, faults.DEGENERATE_OUTLINE, faults.OUTSIDE_OUTLINE)


def usable_annotations(
    source: Source,
    class_names: Sequence[str] | None,
    orientation: Orientation | None,
    masks: bool,
    policy: FaultPolicy,
) -> Annotations:
    """Read a split, and repair or refuse its faults.

    Args:
        source: the split.
        class_names: classes of the training split; None to read them.
        orientation: see `formats.read_annotations`, as of the next.
        masks: whether to draw the masks of outlines.
        policy: what is done about faults.

    Raises:
        FileNotFoundError: the source, or an image of it, does not exist.
        ValueError: the source cannot be read, has nothing to train on, or has faults that loading cannot repair.
    """
    split = source.split
    annotations, found = read_annotations(source.path, source.files, split, class_names, orientation, masks)
    policy.handle(found, REPAIRED, split)  # before any image is read: a fault stops at once
    annotations = annotations.only(policy.existing(annotations.files))
    if split == "train" and not len(annotations):
        raise ValueError(f"{source.path}: holds no images to train on.")
    if split != "train" and policy.has_given_classes:
        warn_of_absent(source.path, annotations.class_names, annotations.instances.labels - 1)
    if not len(annotations.instances):
        _refuse_no_boxes(split, source.path, found)
    return annotations


def _refuse_no_boxes(split: str, source: Path, found: Sequence[Fault]) -> None:
    """Refuse a split without a box to learn from, or in which none can be used."""
    dropped = [fault for fault in found if fault.kind in DROPPED]
    if dropped:
        raise ValueError(f"{source}: none of {len(dropped)} boxes can be used; the first: {dropped[0]}")
    if split == "train":
        raise ValueError(f"{source}: no image has a box, so there is nothing to learn. Give annotations with boxes.")

"""Faults of data sets: kinds, and records with file and message."""

from __future__ import annotations

from typing import NamedTuple

# of image files
MISSING_FILE = "missing file"
UNREADABLE_IMAGE = "unreadable image"
SIZE_MISMATCH = "size mismatch"
UNUSABLE_SIZE = "unusable image size"  # in the annotations; the size of the image itself is used
EXIF_ROTATION = "EXIF rotation"

# of video files
UNREADABLE_VIDEO = "unreadable video"
ABRUPT_END = "abrupt end"  # of a video that plays: it may have been cut short

# of scans
UNREADABLE_SCAN = "unreadable scan"
CONSTANT_SCAN = "constant scan"
EMPTY_PATIENT = "empty patient"

# of annotation files
UNREADABLE_ANNOTATIONS = "unreadable annotations"
UNKNOWN_CATEGORY = "unknown category"
UNKNOWN_IMAGE = "unknown image"
DUPLICATE_ID = "duplicate id"
AMBIGUOUS_ID = "ambiguous id"
DUPLICATE_FILE = "duplicate file name"
DUPLICATE_CATEGORY = "duplicate category"
OUTSIDE_ROOT = "outside the data root"
NO_LABELS = "no labels"
ORPHAN_LABELS = "labels without an image"
SHARED_LABELS = "images that share labels"

# of classes
EMPTY_CLASS = "empty class"
CONFLICTING_LABELS = "conflicting labels"
UNTRAINED_CLASS = "class that training lacks"  # a later split has samples of it, the training split none
EMPTY_NAME = "empty class name"
CLASS_COUNT = "wrong number of classes"
CLASS_FILE = "class file that differs"

# of boxes
DEGENERATE_BOX = "degenerate box"
OUTSIDE_BOX = "outside box"
BOX_OVER_BORDER = "box over the border"
DUPLICATE_BOX = "duplicate box"
UNKNOWN_ORIENTATION = "unknown orientation"
CORNER_BOXES = "corners for sizes"
CONFIDENCE = "confidence"

NO_TRAINING_SPLIT = "no training split"
ONE_CLASS = "only one class"
SIMILAR_CLASSES = "classes of nearly one name"

# of masks and outlines
UNKNOWN_VALUE = "unknown value"
IGNORED_CLASS = "ignored value in place of a class"
LOSSY_MASK = "lossy mask"
MISSING_OUTLINE = "missing outline"
DEGENERATE_OUTLINE = "degenerate outline"
OUTSIDE_OUTLINE = "outside outline"
BRUSH_MASKS = "masks marked as crowds"
MISFIT_MASK = "mask that does not fit its box"

# between splits
LEAK = "leak"


class Fault(NamedTuple):
    """One fault of a data set.

    Attributes:
        kind: short name for counting, one of the constants above.
        file: the faulty file.
        message: what was found, where in the file, and what is expected.
        class_name: the class that an unknown category is of.
    """

    kind: str
    file: str
    message: str
    class_name: str = ""

    def __str__(self) -> str:
        return f"{self.file}: {self.message} [{self.kind}]"


class UnreadableFile(ValueError):
    """A file that is missing, empty, truncated or of another format than its name; the message has the remedy."""

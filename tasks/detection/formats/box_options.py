"""Options of reading annotations, whatever their format."""

from __future__ import annotations

from typing import NamedTuple

from vertebra.tasks.detection.annotations.orientation import Orientation


class BoxOptions(NamedTuple):
    """What a reader needs besides source and classes.

    Attributes:
        orientation: in which frame the boxes of images with an EXIF rotation are, see `find_frames`.
        masks: whether every object needs an outline, of which its mask is drawn; None if any object has one.
    """

    orientation: Orientation | None = None
    masks: bool | None = False

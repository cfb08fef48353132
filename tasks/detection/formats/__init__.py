"""Detection formats: COCO, YOLO, Pascal VOC and labelme."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vertebra.tasks.detection.annotations.annotations import Annotations
from vertebra.tasks.detection.annotations.orientation import Orientation
from vertebra.tasks.detection.formats import coco, labelme, voc, yolo
from vertebra.tasks.detection.formats.box_options import BoxOptions
from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.loading.formats import Format, Source, read_source

# Their options are `BoxOptions`. A folder that holds several is of the first that finds a split there.
FORMATS: tuple[Format[Annotations], ...] = (voc.FOLDER, coco.COCO, yolo.YOLO, voc.LIST, labelme.LABELME)


def read_annotations(
    source: Path,
    images: Path | None = None,
    split: str = "train",
    class_names: Sequence[str] | None = None,
    orientation: Orientation | None = None,
    masks: bool | None = False,
) -> tuple[Annotations, list[Fault]]:
    """Read the boxes of one split, and masks if they are wanted.

    Args:
        source: COCO's *.json, YOLO's *.yaml, VOC's list *.txt or folder of *.xml, labelme's folder of *.json.
        images: the folder that COCO's file names are relative to; None looks for it around the JSON.
        split: the split of a YOLO source.
        class_names: names of the training split, which then number the labels; a category that is not among them is
            a fault. None numbers the classes that the source has.
        orientation: whether boxes of images with an EXIF rotation are in the frame that a viewer shows, or in that of
            the stored pixels; None decides by the boxes, see `find_frames`.
        masks: whether to draw the masks of outlines, see `BoxOptions`.

    Returns:
        The annotations without what cannot be used, and a fault for each of those.

    Raises:
        FileNotFoundError: the source, or a folder that it needs, does not exist.
        ValueError: the source is of none of the formats, or cannot be read as the one it is of.
    """
    return read_source(FORMATS, Source(source, split, images), BoxOptions(orientation, masks), class_names)

"""Instance masks of Pascal VOC's SegmentationObject."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from vertebra.tasks.detection.formats import read_annotations
from vertebra.tasks.detection.formats.outlines_at_a_glance import mask_lists
from vertebra.tasks.detection.formats.voc import read_voc
from vertebra.tasks.loading.files import faults
from vertebra.tasks.loading.formats import Source

BOXES = {"0001": [("cat", (10, 20, 40, 45)), ("dog", (50, 5, 90, 30))], "0002": [("cat", (0, 0, 100, 50))]}
LIST = "ImageSets/Segmentation/train.txt"


def xml(objects):
    text = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
        "</bndbox></object>"
        for name, (x1, y1, x2, y2) in objects
    )
    return f"<annotation><size><width>100</width><height>50</height></size>{text}</annotation>"


def values(objects, void=2):
    """Draw ellipses in the boxes, each with a void border of some pixels."""
    y, x = np.mgrid[:50, :100] + 0.5
    drawn = np.zeros((50, 100), dtype=np.uint8)
    for number, (_, (x1, y1, x2, y2)) in enumerate(objects, start=1):
        for border, value in ((0, 255), (void, number)):
            half_width, half_height = (x2 - x1) / 2 - border, (y2 - y1) / 2 - border
            inside = ((x - (x1 + x2) / 2) / half_width) ** 2 + ((y - (y1 + y2) / 2) / half_height) ** 2 <= 1
            drawn[inside] = value
    return drawn


def save(file: Path, pixels, mode="P"):
    image = Image.fromarray(pixels)
    if mode == "P":
        image.putpalette([i for value in range(256) for i in (value, 255 - value, 7 * value % 256)])
    image.save(file)


@pytest.fixture
def tree(tmp_path):
    for folder in ("Annotations", "JPEGImages", "SegmentationObject", "ImageSets/Main", "ImageSets/Segmentation"):
        (tmp_path / folder).mkdir(parents=True)
    for name, objects in (*BOXES.items(), ("0003", BOXES["0001"])):
        Image.new("RGB", (100, 50)).save(tmp_path / "JPEGImages" / f"{name}.jpg")
        (tmp_path / f"Annotations/{name}.xml").write_text(xml(objects))
    for name, objects in BOXES.items():
        save(tmp_path / f"SegmentationObject/{name}.png", values(objects))
    (tmp_path / "ImageSets/Main/train.txt").write_text("0001\n0002\n0003\n")
    (tmp_path / LIST).write_text("0001\n0002\n")
    return tmp_path


@pytest.mark.parametrize("mode", ["P", "L"])
def test_values_number_the_objects_of_the_xml(tree, mode):
    for name, objects in BOXES.items():
        save(tree / f"SegmentationObject/{name}.png", values(objects), mode)
    annotations, found = read_annotations(tree / LIST, masks=True)
    assert found == []
    table = annotations.instances
    assert [annotations.class_names[label - 1] for label in table.labels] == ["cat", "dog", "cat"]
    masks = coco_mask.decode(table.masks.rles()).transpose(2, 0, 1).astype(bool)
    numbers = [(values(BOXES["0001"]), 1), (values(BOXES["0001"]), 2), (values(BOXES["0002"]), 1)]
    for mask, (drawn, number) in zip(masks, numbers, strict=True):
        assert np.array_equal(mask, drawn == number)
    # around the masks, without the void border
    assert table.boxes.tolist() == [[12, 22, 38, 43], [52, 7, 88, 28], [2, 2, 98, 48]]
    assert table.areas.tolist() == masks.sum(axis=(1, 2)).tolist()


def test_boxes_alone_are_those_of_the_xml(tree):
    for masks, file in ((False, LIST), (None, "ImageSets/Main/train.txt")):  # not every image of the second has masks
        annotations, found = read_annotations(tree / file, masks=masks)
        assert found == []
        assert annotations.instances.masks is None
        assert annotations.instances.boxes[0].tolist() == [10, 20, 40, 45]
    assert read_annotations(tree / LIST, masks=None)[0].instances.masks is not None


def test_a_folder_of_xml_takes_the_masks_beside_it(tree):
    (tree / "Annotations/0003.xml").unlink()
    annotations, found = read_annotations(tree / "Annotations", masks=True)
    assert (found, len(annotations.instances.masks)) == ([], 3)


@pytest.mark.parametrize(
    ("pixels", "kind", "message"),
    [
        (None, faults.MISSING_FILE, "ImageSets/Segmentation lists the images with masks"),
        (values([*BOXES["0001"], ("cat", (60, 35, 80, 48))]), faults.UNREADABLE_ANNOTATIONS, "value 3, but .* 2 obj"),
        (np.zeros((50, 100, 3), np.uint8), faults.UNREADABLE_ANNOTATIONS, "has the mode RGB"),
        (values(BOXES["0001"][:1]), faults.MISSING_OUTLINE, "object 2: its outline is None"),
        (values(BOXES["0001"][::-1]), faults.MISFIT_MASK, "object 1: its mask spans"),
        (values(BOXES["0001"])[:, :90], faults.SIZE_MISMATCH, "0001.jpg"),
    ],
    ids=["no file", "another object", "colors", "no pixel", "another order", "another size"],
)
def test_masks_that_are_not_of_the_objects_are_named(tree, pixels, kind, message):
    file = tree / "SegmentationObject/0001.png"
    file.unlink()
    if pixels is not None:
        save(file, pixels, "RGB" if pixels.ndim == 3 else "P")
    _, found = read_annotations(tree / LIST, masks=True)
    assert {fault.kind for fault in found} == {kind}
    assert re.search(message, str(found[0]))


def test_a_tree_without_masks_is_refused(tree):
    (tree / "SegmentationObject").rename(tree / "Other")
    with pytest.raises(ValueError, match="no folder SegmentationObject is beside it"):
        read_annotations(tree / LIST, masks=True)


def test_lists_of_images_with_masks_are_found(tree):
    assert mask_lists(tree) == mask_lists(tree / LIST) == [Source(tree / LIST)]
    assert mask_lists(tree / "ImageSets/Main/train.txt") == []
    assert read_voc(tree / LIST)[1] == []

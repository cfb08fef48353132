"""One reader for boxes and outlines: both report the same faults of a file."""

import json

import pytest
from PIL import Image

from vertebra.tasks.detection.formats.coco import read_coco
from vertebra.tasks.loading.coco.content import read_content
from vertebra.tasks.loading.files import faults
from vertebra.tasks.segmentation.formats.coco import read_polygons

SQUARE = [[2, 2, 12, 2, 12, 12, 2, 12]]


def content():
    return {
        "images": [{"id": 1, "file_name": "a.png", "height": 20, "width": 30}],
        "categories": [{"id": 4, "name": "cell"}, {"id": 9, "name": "dust"}],
        "annotations": [
            {"id": 70 + i, "image_id": 1, "category_id": 4, "bbox": [2 + i, 2, 10, 10], "segmentation": SQUARE}
            for i in range(2)
        ],
    }


def annotation(**fields):
    return lambda data: data["annotations"][1].update(fields)


CASES = {
    "sound": (lambda data: None, []),
    "id as text": (lambda data: data["images"][0].update(id="1"), []),
    "reference as text": (annotation(image_id="1", category_id=4.0), []),
    "no id": (lambda data: data["annotations"][1].pop("id"), []),
    "a name for an id": (annotation(id="seventy"), [(faults.UNREADABLE_ANNOTATIONS, "annotations[1] has the id 'sev")]),
    "id over 64 bits": (annotation(id=2**64), [(faults.UNREADABLE_ANNOTATIONS, "expected a whole number below 2^63")]),
    "annotation id twice": (annotation(id="070"), [(faults.DUPLICATE_ID, "70 is used 2 times, written as 70, '070'")]),
    "image id twice": (
        lambda data: data["images"].append(data["images"][0]),
        [(faults.DUPLICATE_ID, "image id 1 is used 2 times")],
    ),
    "image twice": (
        lambda data: data["images"].append(data["images"][0] | {"id": 2, "file_name": "./a.png"}),
        [(faults.DUPLICATE_FILE, "image 'a.png' (id 1) is listed 2 times")],
    ),
    "name twice": (
        lambda data: data["categories"].append({"id": 11, "name": "cell "}),
        [(faults.DUPLICATE_CATEGORY, "category 'cell' has the ids 4, 11")],
    ),
    "empty name": (
        lambda data: data["categories"][1].update(name=" "),
        [(faults.EMPTY_NAME, "category 9 has the name ' '")],
    ),
    "a number as name": (lambda data: data["categories"][1].update(name=7), []),
    "unknown image": (
        annotation(image_id=8),
        [(faults.UNKNOWN_IMAGE, "annotation 71 is of image id 8, which is not among")],
    ),
    "unknown category": (
        annotation(category_id=8),
        [(faults.UNKNOWN_CATEGORY, "image 'a.png' (id 1), annotation 71: category 8 is not among: ")],
    ),
    "a part of a pixel": (
        lambda data: data["images"][0].update(height=20.5),
        [(faults.UNUSABLE_SIZE, "image 'a.png' (id 1): its height is 20.5; expected a number of pixels")],
    ),
    "outside": (
        lambda data: data["images"].append({"id": 2, "file_name": "../../b.png", "height": 20, "width": 30}),
        [(faults.OUTSIDE_ROOT, "refers to ")],
    ),
}


@pytest.mark.parametrize(("change", "expected"), CASES.values(), ids=CASES)
def test_boxes_and_outlines_have_the_same_faults(tmp_path, change, expected):
    data = content()
    change(data)
    file = tmp_path / "a.json"
    file.write_text(json.dumps(data))
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    for _, found in (read_coco(file, tmp_path), read_polygons(file, tmp_path)):
        assert [fault.kind for fault in found] == [kind for kind, _ in expected]
        assert all(message in fault.message for fault, (_, message) in zip(found, expected, strict=True))


@pytest.mark.parametrize(("records", "category"), [(0, "dust"), (1, "cell")])
def test_each_annotation_of_an_untrained_category_is_named(tmp_path, records, category):
    data = content()
    data["annotations"][0]["category_id"] = 9
    file = tmp_path / "a.json"
    file.write_text(json.dumps(data))
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    known = [name for name in ("cell", "dust") if name != category]
    for _, found in (read_coco(file, tmp_path, known), read_polygons(file, tmp_path, ["background", *known])):
        assert [fault.kind for fault in found] == [faults.UNKNOWN_CATEGORY]
        assert f"annotation {70 + records}: category {category!r} is not among: " in found[0].message


def test_outlines_of_images_without_a_size_are_not_judged(tmp_path):
    data = content()
    del data["images"][0]["height"]
    data["annotations"][0]["segmentation"] = [[1, 2]]
    file = tmp_path / "a.json"
    file.write_text(json.dumps(data))
    assert read_content(file).outline_faults == {}
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    records, found = read_polygons(file, tmp_path)
    assert [fault.kind for fault in found] == [faults.UNUSABLE_SIZE]
    assert len(records.images) == 0
    assert read_coco(file, tmp_path)[1] == []

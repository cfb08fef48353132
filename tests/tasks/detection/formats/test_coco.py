import json

import pytest

from vertebra.tasks.detection.formats import FORMATS, read_annotations
from vertebra.tasks.detection.formats.coco import read_coco
from vertebra.tasks.loading.files import faults
from vertebra.tasks.loading.formats import Source, find_sources


def content():
    return {
        "images": [
            {"id": 30, "file_name": "c.jpg", "width": 100, "height": 50},
            {"id": 10, "file_name": "sub/a.jpg", "width": 100, "height": 50},
            {"id": 20, "file_name": "empty.jpg", "width": 100, "height": 50},
        ],
        "annotations": [
            {"id": 1, "image_id": 10, "category_id": 9, "bbox": [1, 2, 30, 40], "area": 600.5, "iscrowd": 0},
            {"id": 2, "image_id": 30, "category_id": 4, "bbox": [0, 0, 10, 10]},
            {"id": 3, "image_id": 10, "category_id": 4, "bbox": [5, 5, 6, 7], "iscrowd": 1, "segmentation": {}},
        ],
        "categories": [{"id": 9, "name": "dog"}, {"id": 4, "name": "cat"}],
    }


def written(folder, data):
    file = folder / "boxes.json"
    file.write_text(data if isinstance(data, str) else json.dumps(data))
    return file


def read(folder, data, **options):
    return read_coco(written(folder, data), folder, **options)


def test_minimal_file(tmp_path):
    annotations, found = read(tmp_path, content())
    assert found == []
    assert annotations.class_names == ("cat", "dog")
    assert annotations.category_ids.tolist() == [4, 9]
    assert annotations.files.tolist() == [str(tmp_path / name) for name in ("c.jpg", "sub/a.jpg", "empty.jpg")]
    assert annotations.files.dtype.kind == "U"
    assert annotations.image_ids.tolist() == [30, 10, 20]
    assert annotations.sizes.tolist() == [[50, 100]] * 3
    assert annotations.starts.tolist() == [0, 1, 3, 3]
    assert annotations.instances.boxes.tolist() == [[0, 0, 10, 10], [1, 2, 31, 42], [5, 5, 11, 12]]
    assert annotations.instances.labels.tolist() == [1, 2, 1]
    assert annotations.instances.crowd.tolist() == [False, False, True]
    assert annotations.instances.areas.tolist() == [100, 600.5, 42]
    assert annotations.instances.ids.tolist() == [2, 1, 3]


def test_no_boxes_at_all(tmp_path):
    annotations, found = read(tmp_path, content() | {"annotations": []})
    assert found == []
    assert len(annotations) == 3
    assert annotations.instances.boxes.shape == (0, 4)
    assert annotations.starts.tolist() == [0, 0, 0, 0]
    annotations, found = read(tmp_path, {"images": [], "annotations": [], "categories": []})
    assert (len(annotations), found) == (0, [])


@pytest.mark.parametrize(
    ("change", "kind", "message", "kept"),
    [
        ({"bbox": [1, 2, 0, 4]}, faults.DEGENERATE_BOX, "0 wide and 4 high", False),
        ({"bbox": [1, 2, 4, -3]}, faults.DEGENERATE_BOX, "4 wide and -3 high", False),
        ({"bbox": [1, 2, float("nan"), 4]}, faults.DEGENERATE_BOX, "four finite numbers", False),
        ({"bbox": [1, 2, float("inf"), 4]}, faults.DEGENERATE_BOX, "four finite numbers", False),
        ({"bbox": [1, 2, 3]}, faults.DEGENERATE_BOX, "four finite numbers", False),
        ({"bbox": "none"}, faults.DEGENERATE_BOX, "four finite numbers", False),
        ({"bbox": None}, faults.DEGENERATE_BOX, "four finite numbers", False),
        ({"bbox": [100, 2, 30, 4]}, faults.OUTSIDE_BOX, "nothing in common with its image of 100 x 50", False),
        ({"bbox": [10, -9, 30, 9]}, faults.OUTSIDE_BOX, "nothing in common", False),
        ({"bbox": [80, 2, 30, 4]}, faults.BOX_OVER_BORDER, "sticks 10 pixels out", True),
        ({"category_id": 5}, faults.UNKNOWN_CATEGORY, "category 5 is not among: cat, dog", False),
        ({"category_id": [4]}, faults.UNKNOWN_CATEGORY, "category '[4]' is not among", False),
        ({"category_id": None}, faults.UNKNOWN_CATEGORY, "category None is not among", False),
    ],
)
def test_bad_boxes(tmp_path, change, kind, message, kept):
    data = content()
    data["annotations"][0] |= change
    annotations, found = read(tmp_path, data)
    assert [fault.kind for fault in found] == [kind]
    assert found[0].file == str(tmp_path / "boxes.json")
    assert found[0].message.startswith("image 'sub/a.jpg' (id 10), annotation 1: ")
    assert message in found[0].message
    assert (1 in annotations.instances.ids) is kept
    assert annotations.starts.tolist() == [0, 1, 2 + kept, 2 + kept]


def test_boxes_are_clipped_and_a_pixel_over_the_border_is_no_fault(tmp_path):
    data = content()
    data["annotations"][0]["bbox"] = [-1, 10, 20, 41]
    annotations, found = read(tmp_path, data)
    assert found == []
    assert annotations.instances.boxes[1].tolist() == [0, 10, 19, 50]


def test_unknown_sizes_clip_nothing(tmp_path):
    data = content()
    del data["images"][1]["width"]
    data["annotations"][0]["bbox"] = [-5, 400, 20, 40]
    annotations, found = read(tmp_path, data)
    assert found == []
    assert annotations.sizes.tolist() == [[50, 100], [0, 0], [50, 100]]
    assert annotations.instances.boxes[1].tolist() == [-5, 400, 15, 440]


@pytest.mark.parametrize("number", [31, None, [10]])
def test_unknown_image(tmp_path, number):
    data = content()
    data["annotations"][1]["image_id"] = number
    annotations, found = read(tmp_path, data)
    assert [fault.kind for fault in found] == [faults.UNKNOWN_IMAGE]
    assert "annotation 2 is of image id " in found[0].message
    assert annotations.instances.ids.tolist() == [1, 3]


def test_duplicates(tmp_path):
    data = content()
    data["images"][2] |= {"id": 10}
    data["images"].append({"id": 40, "file_name": "./c.jpg", "width": 100, "height": 50})
    data["annotations"][1]["id"] = 1
    data["categories"].append({"id": 11, "name": "cat"})
    data["annotations"][2]["category_id"] = 11
    annotations, found = read(tmp_path, data)
    assert {(fault.kind, fault.message.split(";")[0]) for fault in found} == {
        (faults.DUPLICATE_ID, "image id 10 is used 2 times"),
        (faults.DUPLICATE_ID, "annotation id 1 is used 2 times"),
        (faults.DUPLICATE_FILE, "image 'c.jpg' (id 30) is listed 2 times"),
        (faults.DUPLICATE_CATEGORY, "category 'cat' has the ids 4, 11, and is taken as one class"),
    }
    assert annotations.image_ids.tolist() == [30, 10, 40]
    assert annotations.class_names == ("cat", "dog")
    assert annotations.category_ids.tolist() == [4, 9]
    assert annotations.instances.labels.tolist() == [1, 2, 1]


def test_names_of_the_training_split_number_the_labels(tmp_path):
    annotations, found = read(tmp_path, content(), class_names=("dog", "bird"))
    assert annotations.class_names == ("dog", "bird")
    assert annotations.category_ids.tolist() == [9, -1]
    assert annotations.instances.labels.tolist() == [1]
    assert [fault.kind for fault in found] == [faults.UNKNOWN_CATEGORY] * 2
    assert "category 'cat' is not among: dog, bird" in found[0].message


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ('{"images": [],\n "annotations": [}', "boxes.json: line 2, column 18"),
        ("[]", "boxes.json is not an object"),
        ({"images": [], "annotations": []}, "boxes.json has images, annotations; .*categories"),
        ({"images": [3], "annotations": [], "categories": []}, r"images\[0\] is 3"),
        ({"images": [{"id": "x", "file_name": "a"}], "annotations": [], "categories": []}, "has the id 'x'"),
        ({"images": [{"id": 1}], "annotations": [], "categories": []}, "has the file_name None"),
    ],
)
def test_broken_files_are_named(tmp_path, data, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, data)


@pytest.mark.parametrize(
    ("json_file", "image"),
    [
        ("boxes.json", "images/c.jpg"),
        ("annotations/boxes.json", "images/c.jpg"),
        ("annotations/instances_val2017.json", "val2017/c.jpg"),
        ("annotations/instances_val.json", "images/val/c.jpg"),
        ("train/_annotations.coco.json", "train/c.jpg"),
    ],
)
def test_images_are_found_around_the_json(tmp_path, json_file, image):
    for name in (json_file, image):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    (tmp_path / json_file).write_text(json.dumps(content()))
    annotations, _ = read_annotations(tmp_path / json_file)
    assert annotations.files[0] == str(tmp_path / image)


def test_images_that_are_not_found_bring_the_remedy(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"'c.jpg' is in none of .*data\.images"):
        read_annotations(written(tmp_path, content()))


def test_other_sources_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"a folder of none of the known formats; .*VOC's .*COCO's .*YOLO's .*VOC's"):
        read_annotations(tmp_path)


def test_a_folder_lists_its_coco_files_and_no_other_json(tmp_path):
    file = written(tmp_path, content())
    (tmp_path / "notes.json").write_text("{}")
    assert find_sources(FORMATS, Source(tmp_path), None) == [Source(file)]


def test_ids_as_text_and_as_fractions_of_one_are_numbers(tmp_path):
    data = content()
    data["images"][1]["id"] = "10"
    data["categories"][0]["id"] = "9"
    data["annotations"][0] |= {"image_id": 10.0, "category_id": "9"}
    data["annotations"][1]["image_id"] = "30"
    annotations, found = read(tmp_path, data)
    assert found == []
    assert annotations.image_ids.tolist() == [30, 10, 20]
    assert annotations.instances.labels.tolist() == [1, 2, 1]


def test_ids_that_differ_in_leading_zeros_only_are_named(tmp_path):
    data = content()
    data["images"].append({"id": "0010", "file_name": "d.jpg", "width": 100, "height": 50})
    data["categories"].append({"id": "09", "name": "bird"})
    _, found = read(tmp_path, data)
    assert {(fault.kind, fault.message) for fault in found} == {
        (faults.DUPLICATE_ID, "image id 10 is used 2 times, written as 10, '0010'; expected once."),
        (faults.DUPLICATE_CATEGORY, "category id 9 is used 2 times, written as 9, '09'; expected once."),
    }


@pytest.mark.parametrize("bbox", [{}, {"bbox": None}, {"bbox": []}])
@pytest.mark.parametrize(
    ("segmentation", "box"),
    [
        ([[10, 5, 30.5, 5, 20, 40]], [10, 5, 30.5, 40]),
        ([[10, 5, 12, 5, 11, 8], [50, 20, 60, 20, 60, 45, 50, 45]], [10, 5, 60, 45]),
        ([10, 5, 30, 5, 20, 40], [10, 5, 30, 40]),
        ({"size": [50, 100], "counts": [50 * 20 + 10, 5, 45, 5, 5000 - 50 * 20 - 65]}, [20, 10, 22, 15]),
    ],
)
def test_boxes_are_made_of_outlines_where_only_those_are_given(tmp_path, segmentation, box, bbox):
    data = content()
    data["annotations"][0] = {"id": 1, "image_id": 10, "category_id": 9, "segmentation": segmentation} | bbox
    annotations, found = read(tmp_path, data)
    assert found == []
    assert annotations.instances.boxes[1].tolist() == box
    assert annotations.instances.boxes[0].tolist() == [0, 0, 10, 10]


def test_corners_in_place_of_width_and_height_are_named(tmp_path):
    data = content()
    boxes = [[15, 10, 90, 40], [60, 20, 95, 45], [5, 5, 20, 20]]
    for record, box in zip(data["annotations"], boxes, strict=True):
        record["bbox"] = box
    _, found = read(tmp_path, data)
    assert found[0].kind == faults.CORNER_BOXES
    assert "2 of 3 boxes stick out of their images as x, y, width, height" in found[0].message
    for record, (x1, y1, x2, y2) in zip(data["annotations"], boxes, strict=True):
        record["bbox"] = [x1, y1, x2 - x1, y2 - y1]
    assert read(tmp_path, data)[1] == []


def test_annotations_without_crowd_area_and_id_are_read(tmp_path):
    data = content()
    data["annotations"] = [{"image_id": 10, "category_id": 9, "bbox": [1, 2, 30, 40]}]
    annotations, found = read(tmp_path, data)
    assert (found, annotations.instances.areas.tolist(), annotations.instances.crowd.tolist()) == ([], [1200], [False])


def test_hidden_files_are_no_annotations(tmp_path):
    file = written(tmp_path, content())
    (tmp_path / "._boxes.json").write_text(file.read_text())
    assert find_sources(FORMATS, Source(tmp_path), None) == [Source(file)]

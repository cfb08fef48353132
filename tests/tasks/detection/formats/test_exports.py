"""Exports of labelme, CVAT and Roboflow, small files written after their documented structure."""

import base64
import json

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from vertebra.tasks.detection import DetectionData, Split
from vertebra.tasks.detection.formats import FORMATS, read_annotations
from vertebra.tasks.detection.formats.coco import read_coco
from vertebra.tasks.detection.formats.labelme import read_labelme
from vertebra.tasks.loading.files import faults
from vertebra.tasks.loading.formats import Source, find_sources
from vertebra.tools.check import main

HEIGHT, WIDTH = 40, 60
TRIANGLE = [[10.5, 5], [40, 20], [12, 35.25]]
SQUARE = [[45, 8], [55, 8], [55, 18], [45, 18]]


def flat(points):
    return [float(value) for point in points for value in point]


def dense(annotations):
    return [coco_mask.decode([rle])[..., 0] for rle in annotations.instances.masks.rles()]


def drawn(*polygons):
    return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects([flat(each) for each in polygons], HEIGHT, WIDTH)))


def picture(file):
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(file.name)).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file)


def shape(label, points, shape_type="polygon", **fields):
    return {"label": label, "points": points, "group_id": None, "shape_type": shape_type, "flags": {}} | fields


def labelme(folder, *shapes, name="a", **fields):
    picture(folder / f"{name}.jpg")
    content = {
        "version": "5.5.0",
        "flags": {},
        "shapes": list(shapes),
        "imagePath": f"{name}.jpg",
        "imageData": None,
        "imageHeight": HEIGHT,
        "imageWidth": WIDTH,
    }
    (folder / f"{name}.json").write_text(json.dumps(content | fields))
    return folder


def png(mask):
    return base64.b64encode(cv2.imencode(".png", mask.astype(np.uint8) * 255)[1].tobytes()).decode()


def test_shapes_of_labelme(tmp_path):
    blob = np.zeros((6, 9), bool)
    blob[1:5, 2:8] = True
    folder = labelme(
        tmp_path / "train",
        shape("dog", TRIANGLE),
        shape("cat", [[30, 20], [30, 30]], "circle"),
        shape("dog", [[20, 3], [28, 8]], "mask", mask=png(blob)),
    )
    annotations, found = read_labelme(folder, masks=True)
    assert found == []
    assert annotations.class_names == ("cat", "dog")
    assert annotations.instances.labels.tolist() == [2, 1, 2]
    assert annotations.files.tolist() == [str(folder / "a.jpg")]
    triangle, circle, mask = dense(annotations)
    assert np.array_equal(triangle, drawn(TRIANGLE))
    assert circle.sum() == pytest.approx(np.pi * 100, rel=0.03)
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[3:9, 20:29] = blob
    assert np.array_equal(mask, expected)
    assert annotations.instances.boxes.tolist()[0] == [10.5, 5, 40, 35.25]
    assert annotations.instances.boxes.tolist()[2] == [22, 4, 28, 8]
    assert annotations.instances.areas.tolist() == [each.sum() for each in (triangle, circle, mask)]


def test_shapes_of_one_group_are_one_object(tmp_path):
    blob = np.ones((4, 4), bool)
    folder = labelme(
        tmp_path / "train",
        shape("dog", TRIANGLE, group_id=1),
        shape("dog", SQUARE, group_id=1),
        shape("cat", SQUARE, group_id=1),
        shape("dog", [[20, 30], [23, 33]], "mask", mask=png(blob), group_id=2),
        shape("dog", SQUARE, group_id=2),
        shape("dog", TRIANGLE),
    )
    annotations, found = read_labelme(folder, masks=True)
    assert found == []
    assert annotations.instances.labels.tolist() == [2, 1, 2, 2]
    both, cat, mixed, alone = dense(annotations)
    assert np.array_equal(both, drawn(TRIANGLE, SQUARE))
    assert np.array_equal(cat, drawn(SQUARE))
    expected = drawn(SQUARE)
    expected[30:34, 20:24] = 1
    assert np.array_equal(mixed, expected)
    assert np.array_equal(alone, drawn(TRIANGLE))
    assert annotations.instances.boxes[0].tolist() == [10.5, 5, 55, 35.25]


def test_a_rectangle_of_labelme_is_a_box(tmp_path, capsys):
    folder = labelme(tmp_path / "train", shape("dog", TRIANGLE), shape("dog", [[50, 30], [40, 20]], "rectangle"))
    annotations, found = read_labelme(folder)
    assert found == []
    assert annotations.instances.boxes[1].tolist() == [40, 20, 50, 30]
    assert annotations.instances.masks is None
    with pytest.raises(ValueError, match=r"train/a.json: image 'a.jpg', shape 2: its outline is None"):
        DetectionData(str(tmp_path), train=Split("train"), masks=True).records("train")
    assert main([str(folder)]) == 1
    assert "shape 2: its outline is None" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changed", "kind", "message"),
    [
        (
            shape("dog", [[1, 2], [30, 30]], "line"),
            faults.DEGENERATE_BOX,
            "shape 1: it is a 'line'; expected a polygon",
        ),
        (shape("dog", [[1, "x"]]), faults.DEGENERATE_BOX, "shape 1: its points are [[1, 'x']]"),
        (shape("dog", [[1, 2], [9, 9]], "mask", mask="?"), faults.DEGENERATE_BOX, "shape 1: its mask is '?'"),
        (shape(None, TRIANGLE), faults.UNKNOWN_CATEGORY, "shape 1: category None"),
        (shape("dog", TRIANGLE[:2]), faults.DEGENERATE_OUTLINE, "shape 1: its outline has 2 corners"),
        ("shape", faults.DEGENERATE_BOX, "shape 1: it is 'shape'"),
    ],
)
def test_shapes_that_cannot_be_used_are_named(tmp_path, changed, kind, message):
    folder = labelme(tmp_path / "train", changed, shape("dog", SQUARE))
    annotations, found = read_labelme(folder, masks=True)
    assert any(fault.kind == kind and message in fault.message for fault in found), found
    assert len(annotations.instances) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "expected JSON"),
        ("[1]", "is [1]; expected labelme's"),
        ('{"shapes": 3}', "has shapes; expected labelme's"),
    ],
)
def test_a_file_that_is_not_labelmes_is_named(tmp_path, text, message):
    folder = labelme(tmp_path / "train", shape("dog", SQUARE))
    (folder / "b.json").write_text(text)
    annotations, (fault,) = read_labelme(folder)
    assert (fault.kind, fault.file) == (faults.UNREADABLE_ANNOTATIONS, str(folder / "b.json"))
    assert message in fault.message or message in f"{fault.file} {fault.message}"
    assert len(annotations) == 1


@pytest.mark.parametrize("stated", ["..\\img\\a.png", "../img/a.png", "C:\\work\\img\\b.jpg"])
def test_images_of_labelme_are_found(tmp_path, stated):
    folder = labelme(tmp_path / "ann", shape("dog", SQUARE), name="b", imagePath=stated)
    picture(tmp_path / "img/a.png")
    annotations, found = read_labelme(folder)
    assert found == []
    expected = folder / "b.jpg" if stated.startswith("C") else tmp_path / "img/a.png"
    assert annotations.files.tolist() == [str(expected)]


def test_an_image_of_labelme_outside_of_the_data_is_refused(tmp_path):
    folder = labelme(tmp_path / "data/train", shape("dog", SQUARE), imagePath="../../secret.jpg")
    (folder / "a.jpg").unlink()
    picture(tmp_path / "secret.jpg")
    annotations, (fault,) = read_labelme(folder)
    assert fault.kind == faults.OUTSIDE_ROOT
    assert len(annotations) == 0


def test_folders_of_labelme_are_splits(tmp_path, capsys):
    for name in ("train", "val"):
        labelme(tmp_path / name, shape("dog", SQUARE), name=name)
    assert find_sources(FORMATS, Source(tmp_path), None) == [Source(tmp_path / "train"), Source(tmp_path / "val")]
    assert main([str(tmp_path)]) == 0
    assert "1 images, 1 boxes: dog 1" in capsys.readouterr().out
    data = DetectionData(str(tmp_path), train=Split("train"), val=Split("val"), masks=True)
    assert data.records("val").instances.masks.areas().tolist() == [100]


def coco(file, categories, annotations, image="a.jpg"):
    file.parent.mkdir(parents=True, exist_ok=True)
    images = [{"id": 1, "file_name": image, "height": HEIGHT, "width": WIDTH, "license": 1, "date_captured": ""}]
    file.write_text(
        json.dumps({"info": {}, "licenses": [], "categories": categories, "images": images, "annotations": annotations})
    )
    return file


def cvat(root, name="default"):
    """COCO 1.0 of CVAT: polygons, and masks of the brush as uncompressed run lengths that it marks as crowds."""
    picture(root / f"images/{name}/a.jpg")
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[20:30, 20:50] = 1
    runs = np.diff(np.flatnonzero(np.diff(np.concatenate([[2], mask.T.ravel(), [2]]))))
    attributes = {"occluded": False}
    annotations = [
        {
            "id": 1,
            "image_id": 1,
            "category_id": 2,
            "segmentation": [flat(TRIANGLE)],
            "area": 400.0,
            "bbox": [10.5, 5.0, 29.5, 30.25],
            "iscrowd": 0,
            "attributes": attributes,
        },
        {
            "id": 2,
            "image_id": 1,
            "category_id": 1,
            "segmentation": {"counts": runs.tolist(), "size": [HEIGHT, WIDTH]},
            "area": 300.0,
            "bbox": [20.0, 20.0, 29.0, 9.0],
            "iscrowd": 1,
            "attributes": attributes,
        },
    ]
    categories = [{"id": 1, "name": "cat", "supercategory": ""}, {"id": 2, "name": "dog", "supercategory": ""}]
    return coco(root / f"annotations/instances_{name}.json", categories, annotations), mask


@pytest.mark.parametrize("name", ["default", "Train"])
def test_masks_of_cvats_brush_are_objects(tmp_path, name):
    file, mask = cvat(tmp_path, name)
    annotations, (fault,) = read_coco(file, masks=True)
    assert (fault.kind, fault.file) == (faults.BRUSH_MASKS, str(file))
    assert "1 masks are marked as crowds, as CVAT marks all that its brush draws" in fault.message
    assert not annotations.instances.crowd.any()
    assert np.array_equal(dense(annotations)[1], mask)
    assert np.array_equal(dense(annotations)[0], drawn(TRIANGLE))
    with pytest.warns(UserWarning, match="taken as objects 1 x masks marked as crowds"):
        DetectionData(str(tmp_path), train=Split(f"annotations/{file.name}"), masks=True).records("train")


def test_crowds_of_coco_stay_crowds(tmp_path):
    file, _ = cvat(tmp_path)
    content = json.loads(file.read_text())
    for annotation in content["annotations"]:
        del annotation["attributes"]
    file.write_text(json.dumps(content))
    annotations, found = read_coco(file, masks=True)
    assert found == []
    assert annotations.instances.crowd.tolist() == [False, True]


def roboflow(root):
    """COCO of Roboflow: a JSON beside the images of each split, and the project as the first category."""
    categories = [
        {"id": 0, "name": "cells", "supercategory": "none"},
        {"id": 1, "name": "Platelets", "supercategory": "cells"},
        {"id": 2, "name": "RBC", "supercategory": "cells"},
    ]
    for i, split in enumerate(("train", "valid", "test")):
        picture(root / split / f"{split}_png.rf.0a1b2c.jpg")
        annotations = [
            {
                "id": 0,
                "image_id": 1,
                "category_id": 1 + i % 2,
                "bbox": [45, 8, 10, 10],
                "area": 100,
                "segmentation": [flat(SQUARE)],
                "iscrowd": 0,
            }
        ]
        coco(root / split / "_annotations.coco.json", categories, annotations, f"{split}_png.rf.0a1b2c.jpg")


def test_splits_of_roboflow(tmp_path, capsys):
    roboflow(tmp_path)
    files = [tmp_path / split / "_annotations.coco.json" for split in ("train", "valid", "test")]
    assert [source.path for source in find_sources(FORMATS, Source(tmp_path), None)] == files
    annotations, found = read_annotations(files[0], masks=True)
    assert found == []
    assert annotations.class_names == ("Platelets", "RBC")  # the project is no class
    assert annotations.category_ids.tolist() == [1, 2]
    assert np.array_equal(dense(annotations)[0], drawn(SQUARE))
    assert main([str(tmp_path)]) == 1
    output = capsys.readouterr().out
    assert "1 boxes: Platelets 1, RBC 0" in output
    assert "faults in all: 1" in output  # of valid, whose class training lacks


@pytest.mark.parametrize(
    "categories",
    [
        [{"id": 0, "name": "person", "supercategory": "person"}, {"id": 1, "name": "car", "supercategory": "vehicle"}],
        [{"id": 0, "name": "none"}, {"id": 1, "name": "car", "supercategory": "none"}],
        [{"id": 0, "name": "car", "supercategory": "none"}, {"id": 1, "name": "bus", "supercategory": "none"}],
    ],
)
def test_classes_without_objects_stay_classes(tmp_path, categories):
    picture(tmp_path / "a.jpg")
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 9, 9], "iscrowd": 0}
    annotations, _ = read_coco(coco(tmp_path / "a.json", categories, [annotation]))
    assert annotations.class_names == tuple(each["name"] for each in categories)


def test_a_parent_with_objects_is_a_class(tmp_path):
    roboflow(tmp_path)
    file = tmp_path / "train/_annotations.coco.json"
    content = json.loads(file.read_text())
    content["annotations"][0]["category_id"] = 0
    file.write_text(json.dumps(content))
    assert read_coco(file)[0].class_names == ("cells", "Platelets", "RBC")

import json

import numpy as np
import pytest
from PIL import Image

from vertebra.tasks.detection import DetectionData, Split
from vertebra.tasks.detection.annotations.orientation import turned
from vertebra.tasks.detection.formats.coco import read_coco
from vertebra.tasks.detection.formats.yolo import read_yolo
from vertebra.tasks.loading.files import faults
from vertebra.tasks.loading.files.images import read_image

STORED = (60, 100)  # height and width
ORIENTATIONS = range(1, 9)


def write(root, boxes, orientation=6, stated=STORED, count=1):
    """Write images with a red object at each box of the stored pixels, and annotations with these boxes (xyxy)."""
    pixels = np.zeros((*STORED, 3), dtype=np.uint8)
    for x1, y1, x2, y2 in boxes:
        pixels[y1:y2, x1:x2] = (255, 0, 0)
    exif = Image.Exif()
    exif[0x0112] = orientation
    root.mkdir(exist_ok=True)
    for i in range(count):
        Image.fromarray(pixels).save(root / f"{i}.png", exif=exif)
    return [{"id": i, "file_name": f"{i}.png", "height": stated[0], "width": stated[1]} for i in range(count)]


def write_coco(root, boxes, drawn=None, **options):
    images = write(root, boxes, **options)
    drawn = boxes if drawn is None else drawn
    rows = [
        {"id": 10 * image["id"] + i, "image_id": image["id"], "category_id": 1, "bbox": [x1, y1, x2 - x1, y2 - y1]}
        for image in images
        for i, (x1, y1, x2, y2) in enumerate(drawn)
    ]
    content = {"images": images, "annotations": rows, "categories": [{"id": 1, "name": "red"}]}
    (root / "a.json").write_text(json.dumps(content))
    return root / "a.json"


def red_boxes(file):
    """Return the box around the red pixels, as a viewer shows the image."""
    rows, columns = np.nonzero(read_image(file)[:, :, 0] > 128)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_boxes_turn_as_pixels_do(tmp_path, orientation):
    box = (10, 20, 75, 50)
    file = write_coco(tmp_path / "a", [box], orientation=orientation)
    annotations, _ = read_coco(file, orientation="stored")
    assert annotations.instances.boxes.tolist() == [red_boxes(annotations.files[0])]
    assert annotations.sizes.tolist() == [list(read_image(annotations.files[0]).shape[:2])]
    assert annotations.instances.areas.tolist() == [65 * 30]


def test_a_box_that_is_upside_down_stays_so():
    wrong = np.array([[30.0, 10, 20, 40]])
    for orientation in ORIENTATIONS:
        x1, y1, x2, y2 = turned(wrong, np.array([[60, 100]]), np.array([orientation]))[0]
        assert (x2 - x1) * (y2 - y1) == -300


def test_boxes_that_fit_the_stored_size_only_are_turned(tmp_path):
    file = write_coco(tmp_path / "a", [(70, 20, 95, 50)], count=2)
    annotations, found = read_coco(file)
    assert [(fault.kind, fault.file) for fault in found] == [
        (faults.EXIF_ROTATION, str(tmp_path / f"a/{i}.png")) for i in range(2)
    ]
    assert "2 boxes of such images fit only the size before the rotation, so its boxes are turned" in found[0].message
    assert annotations.instances.boxes.tolist() == [red_boxes(file) for file in annotations.files]


def test_boxes_that_fit_the_shown_size_only_stay_as_they_are(tmp_path):
    """Label Studio states the stored size, and boxes on what it shows."""
    file = write_coco(tmp_path / "a", [(70, 20, 95, 50)], drawn=[(10, 70, 40, 95)])
    annotations, found = read_coco(file)
    assert [fault.kind for fault in found] == [faults.EXIF_ROTATION]
    assert "taken as drawn on the shown image" in found[0].message
    assert annotations.instances.boxes.tolist() == [red_boxes(annotations.files[0])] == [[10, 70, 40, 95]]


@pytest.mark.parametrize("drawn", [[(5, 5, 50, 50)], [(70, 5, 95, 50), (5, 70, 50, 95)]])
def test_boxes_that_do_not_decide_are_refused_with_the_flag(tmp_path, drawn):
    file = write_coco(tmp_path / "a", drawn)
    assert read_coco(file)[1][0].kind == faults.UNKNOWN_ORIENTATION
    with pytest.raises(
        ValueError, match=r"0\.png: .*data\.orientation \(--orientation of vertebra check\) to `stored`"
    ):
        DetectionData(str(tmp_path / "a"), train=Split("a.json")).records("train")
    for orientation, first in (("stored", red_boxes(tmp_path / "a/0.png")), ("shown", list(drawn[0]))):
        data = DetectionData(str(tmp_path / "a"), train=Split("a.json"), orientation=orientation)
        if len(drawn) == 1:
            assert data.records("train").instances.boxes[0].tolist() == first


def test_images_that_look_alike_in_both_frames_follow_the_others(tmp_path):
    file = write_coco(tmp_path / "a", [(70, 20, 95, 50)])
    content = json.loads(file.read_text())
    write(tmp_path / "b", [(70, 20, 95, 50)], orientation=3)
    (tmp_path / "b/0.png").rename(tmp_path / "a/down.png")
    content["images"].append({"id": 7, "file_name": "down.png", "height": 60, "width": 100})
    content["annotations"].append({"id": 70, "image_id": 7, "category_id": 1, "bbox": [70, 20, 25, 30]})
    file.write_text(json.dumps(content))
    annotations, _ = read_coco(file)
    assert annotations.instances.boxes.tolist() == [red_boxes(file) for file in annotations.files]


def test_sizes_of_the_shown_image_need_no_word(tmp_path):
    annotations, found = read_coco(
        write_coco(tmp_path / "a", [(70, 20, 95, 50)], drawn=[(5, 5, 9, 9)], stated=(100, 60))
    )
    assert found == []
    assert annotations.instances.boxes.tolist() == [[5, 5, 9, 9]]


def test_a_rotated_image_without_boxes_is_no_reason_to_refuse(tmp_path):
    annotations, found = read_coco(write_coco(tmp_path / "a", []))
    assert [fault.kind for fault in found] == [faults.EXIF_ROTATION]
    assert annotations.sizes.tolist() == [[100, 60]]


def test_another_size_is_refused(tmp_path):
    file = write_coco(tmp_path / "a", [(5, 5, 9, 9)], stated=(61, 100), orientation=1)
    with pytest.raises(ValueError, match=r"annotations say 100 x 61 pixels .* the image is 100 x 60"):
        DetectionData(str(tmp_path / "a"), train=Split("a.json")).records("train")
    assert [fault.kind for fault in read_coco(file)[1]] == [faults.SIZE_MISMATCH]


def test_fractions_are_of_the_shown_image_or_of_the_stored_one(tmp_path):
    (tmp_path / "a").mkdir()
    write(tmp_path / "a/images", [(70, 24, 90, 48)])
    (tmp_path / "a/labels").mkdir()
    (tmp_path / "a/labels/0.txt").write_text("0 0.8 0.6 0.2 0.4")
    (tmp_path / "a/data.yaml").write_text("train: images\nnames: [red]")
    shown, found = read_yolo(tmp_path / "a/data.yaml")
    assert found == []
    np.testing.assert_allclose(shown.instances.boxes, [[42, 40, 54, 80]])
    stored, _ = read_yolo(tmp_path / "a/data.yaml", orientation="stored")
    np.testing.assert_allclose(stored.instances.boxes, [red_boxes(stored.files[0])])
    assert stored.sizes.tolist() == shown.sizes.tolist() == [[100, 60]]

"""Masks of outlines: pycocotools draws the same, Pillow turns the same, and faults have the annotation's id."""

import json

import numpy as np
import pytest
from PIL import Image, ImageOps
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from vertebra.tasks.detection import DetectionData, Split
from vertebra.tasks.detection.annotations import outlines
from vertebra.tasks.detection.formats import read_annotations
from vertebra.tasks.detection.formats.coco import read_coco
from vertebra.tasks.detection.formats.yolo import read_yolo
from vertebra.tasks.detection.transforms import Resize
from vertebra.tasks.loading.files import faults
from vertebra.tools.check import main

HEIGHT, WIDTH = 60, 80
TRIANGLE = [10.3, 5.2, 40.9, 20, 12, 50.7]
SQUARE = [50, 10, 70, 10, 70, 30.5, 50, 30.5]


def dense_of(masks):
    return [coco_mask.decode([rle])[..., 0].astype(bool) for rle in masks.rles()]


def run_lengths(compressed):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[20:40, 5:30] = mask[:, 25:28] = 1  # whole columns, too: a run goes on at the top of the next
    rle = coco_mask.encode(np.asfortranarray(mask))
    if compressed:
        return {"size": rle["size"], "counts": rle["counts"].decode()}
    flat = np.concatenate([[2], mask.T.ravel(), [2]])
    runs = np.diff(np.flatnonzero(np.diff(flat)))
    return {"size": [HEIGHT, WIDTH], "counts": [int(run) for run in ([0, *runs] if flat[1] else runs)]}


def content(*segmentations, **fields):
    annotations = [
        {"id": 70 + i, "image_id": 3, "category_id": 1, "segmentation": each, "iscrowd": int(isinstance(each, dict))}
        for i, each in enumerate(segmentations)
    ]
    return {
        "images": [{"id": 3, "file_name": "a.png", "height": HEIGHT, "width": WIDTH}],
        "annotations": [each | fields for each in annotations],
        "categories": [{"id": 1, "name": "cell"}],
    }


@pytest.fixture
def root(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)).save(
        tmp_path / "a.png"
    )
    return tmp_path


def written(root, data):
    (root / "train.json").write_text(json.dumps(data))
    return root / "train.json"


def test_masks_of_coco_are_those_that_pycocotools_draws(root):
    kinds = [[TRIANGLE], [TRIANGLE, SQUARE], run_lengths(True), run_lengths(False)]
    file = written(root, content(*kinds))
    annotations, found = read_coco(file, masks=True)
    assert [fault.kind for fault in found] == [faults.DUPLICATE_BOX]  # both run lengths are of one mask
    theirs = COCO(file)
    expected = [theirs.annToMask(theirs.anns[number]).astype(bool) for number in annotations.instances.ids.tolist()]
    masks = annotations.instances.masks
    assert all(np.array_equal(*pair) for pair in zip(dense_of(masks), expected, strict=True))
    assert masks.rles()[0] == theirs.annToRLE(theirs.anns[70])
    assert annotations.instances.areas.tolist() == [mask.sum() for mask in expected]  # the file has none
    assert annotations.instances.boxes[1].tolist() == [10.3, 5.2, 70, 50.7]


def test_boxes_alone_draw_nothing(root, monkeypatch):
    monkeypatch.setattr(outlines, "find_outline_fault", None)
    annotations, _ = read_coco(written(root, content([TRIANGLE])))
    assert annotations.instances.masks is None
    assert len(annotations.instances) == 1


def test_objects_of_several_images_keep_their_masks(root):
    data = content([TRIANGLE], [SQUARE], run_lengths(True))
    data["images"].append(data["images"][0] | {"id": 1, "file_name": "b.png"})
    data["annotations"][1]["image_id"] = 1
    annotations, _ = read_coco(written(root, data), masks=True)
    assert [annotations.of_image(i).ids.tolist() for i in range(2)] == [[70, 72], [71]]
    only = annotations.only(np.array([1, 0]))
    whole, _ = read_coco(written(root, content([TRIANGLE], [SQUARE], run_lengths(True))), masks=True)
    expected = whole.instances.masks.rles()
    assert only.of_image(0).masks.rles() == expected[1:2]
    assert only.of_image(1).masks.rles() == [expected[0], expected[2]]


def yolo(root, lines):
    (root / "data.yaml").write_text("names: [cell]\ntrain: [a.png]\n")
    (root / "train.txt").write_text("a.png\n")
    (root / "data.yaml").write_text("names: [cell]\ntrain: train.txt\n")
    (root / "a.txt").write_text(lines)
    return root / "data.yaml"


def row(polygon):
    return " ".join(map(str, [0, *(np.reshape(polygon, (-1, 2)) / (WIDTH, HEIGHT)).ravel().tolist()]))


def test_rows_of_yolo_are_drawn_as_polygons_of_coco(root):
    annotations, found = read_yolo(yolo(root, f"{row(TRIANGLE)}\n{row(SQUARE)}\n"), masks=True)
    assert found == []
    expected = [coco_mask.decode(coco_mask.frPyObjects([each], HEIGHT, WIDTH))[..., 0] for each in (TRIANGLE, SQUARE)]
    assert all(np.array_equal(*pair) for pair in zip(dense_of(annotations.instances.masks), expected, strict=True))
    assert annotations.instances.areas.tolist() == [mask.sum() for mask in expected]
    assert read_yolo(root / "data.yaml")[0].instances.masks is None


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("outline", [[TRIANGLE], run_lengths(True)], ids=["polygon", "runs"])
def test_masks_are_turned_as_the_image_is(tmp_path, turn, outline):
    exif = Image.Exif()
    exif[0x0112] = turn
    stored = Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8))
    stored.save(tmp_path / "a.png", exif=exif)
    annotations, _ = read_coco(written(tmp_path, content(outline)), masks=True, orientation="stored")
    rle = outline if isinstance(outline, dict) else coco_mask.frPyObjects(outline, HEIGHT, WIDTH)[0]
    mask = Image.fromarray(coco_mask.decode([rle])[..., 0] * 255)
    mask.getexif()[0x0112] = turn
    expected = np.asarray(ImageOps.exif_transpose(mask)) > 0
    (drawn,) = dense_of(annotations.instances.masks)
    assert np.array_equal(drawn, expected)
    y, x = np.nonzero(expected)
    box = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1])
    assert np.abs(annotations.instances.boxes[0] - box).max() <= 1


def rows_of_no_object(count):
    return {"size": [HEIGHT, WIDTH], "counts": [HEIGHT * WIDTH - count, count]}


FATAL = {
    "no outline": ({"segmentation": []}, faults.MISSING_OUTLINE, "annotation 71: its outline is []"),
    "no key": ({"segmentation": None}, faults.MISSING_OUTLINE, "annotation 71: its outline is None"),
    "another place": (
        {"bbox": [10, 10, 20, 20]},
        faults.MISFIT_MASK,
        "annotation 71: its mask spans x 50..70, y 10..30.5, its box is x 10..30, y 10..30",
    ),
    "another size": (
        {"segmentation": {"size": [10, 10], "counts": [50, 50]}},
        faults.SIZE_MISMATCH,
        "annotation 71: its mask is 10 x 10 pixels, its image 80 x 60",
    ),
    "text": ({"segmentation": [["a"]]}, faults.UNREADABLE_ANNOTATIONS, "annotation 71: its outline cannot be drawn"),
}
DROPPED = {
    "two corners": (
        {"segmentation": [[50, 10, 70, 30]]},
        faults.DEGENERATE_OUTLINE,
        "annotation 71: its outline has 2",
    ),
    "a line": (
        {"segmentation": [[50, 10, 60, 20, 70, 30]]},
        faults.DEGENERATE_OUTLINE,
        "annotation 71: its outline has no",
    ),
    "no run": (
        {"segmentation": rows_of_no_object(0)},
        faults.DEGENERATE_OUTLINE,
        "annotation 71: its mask has no pixel",
    ),
    "between pixels": (
        {"segmentation": [[50.1, 10.1, 50.2, 10.1, 50.2, 10.2]]},
        faults.DEGENERATE_OUTLINE,
        "annotation 71: its outline covers the middle of no pixel",
    ),
    "outside": (
        {"segmentation": [[90, 10, 99, 10, 99, 20]]},
        faults.OUTSIDE_OUTLINE,
        "annotation 71: its outline (x 90",
    ),
}


def listed(capsys, kind):
    return [line for line in capsys.readouterr().out.splitlines() if line.endswith(f"[{kind}]")]


@pytest.mark.parametrize("name", [*FATAL, *DROPPED])
def test_check_and_fit_name_the_annotation(root, capsys, name):
    change, kind, message = (FATAL | DROPPED)[name]
    data = content([TRIANGLE], [SQUARE], bbox=[50, 10, 20, 20.5])
    data["annotations"][0] |= {"bbox": [10.3, 5.2, 30.6, 45.5]}
    data["annotations"][1] |= change
    file = written(root, data)
    assert main([str(file)]) == 1
    (line,) = listed(capsys, kind)
    assert f"train.json: image 'a.png' (id 3), {message}" in line
    run = DetectionData(str(root), train=Split("train.json"), masks=True)
    if name in FATAL:
        with pytest.raises(ValueError, match="annotation 71: ") as refused:
            run.records("train")
        assert str(refused.value).startswith(line)
    else:
        with pytest.warns(
            UserWarning, match=f"dropped 1 x {kind}; .* the first: image 'a.png' .id 3., annotation 71: "
        ):
            assert run.records("train").instances.ids.tolist() == [70]
    boxes_only = DetectionData(str(root), train=Split("train.json"))
    assert boxes_only.records("train").instances.ids.tolist() == [70, 71]


def test_a_thin_tip_without_a_pixel_fits_its_box(root):
    tip = [10, 10, 20, 10, 20, 20, 10, 20, 10, 15.1, 2, 15, 10, 14.9]
    annotations, found = read_coco(written(root, content([tip], bbox=[2, 10, 18, 10])), masks=True)
    assert found == []
    assert annotations.instances.masks.boxes().tolist() == [[10, 10, 20, 20]]


def test_a_part_without_area_leaves_the_others(root):
    data = content([TRIANGLE, [50, 10, 60, 20, 70, 30]], bbox=[10.3, 5.2, 30.6, 45.5])
    annotations, found = read_coco(written(root, data), masks=True)
    assert [fault.kind for fault in found] == [faults.DEGENERATE_OUTLINE]
    assert "part 2 of 2" in found[0].message
    assert annotations.instances.masks.rles() == coco_mask.frPyObjects([TRIANGLE], HEIGHT, WIDTH)


def test_a_row_of_a_box_among_polygons_is_named(root, capsys):
    file = yolo(root, f"{row(TRIANGLE)}\n0 .5 .5 .5 .5\n")
    assert main([str(file)]) == 1
    (line,) = listed(capsys, faults.MISSING_OUTLINE)
    assert "image 'a.png', line 2: its outline is None; draw it, or remove the annotation." in line
    with pytest.raises(ValueError, match="line 2: its outline is None"):
        DetectionData(str(root), train=Split("data.yaml"), masks=True).records("train")


def test_data_of_boxes_only_is_no_fault_of_check(root, capsys):
    assert main([str(yolo(root, "0 .5 .5 .5 .5\n"))]) == 0


def test_check_counts_boxes_without_an_outline(root, capsys):
    data = content([TRIANGLE], [], [], bbox=[10.3, 5.2, 30.6, 45.5])
    data["annotations"][1]["bbox"], data["annotations"][2]["bbox"] = [1, 1, 20, 20], [30, 30, 20, 20]
    assert main([str(written(root, data))]) == 1
    output = capsys.readouterr().out
    assert "3 boxes: cell 3" in output
    assert "faults: missing outline 2" in output


def test_annotations_without_outlines_are_refused_where_the_format_has_none(root):
    (root / "xml").mkdir()
    (root / "xml/a.xml").write_text("<annotation><filename>a.png</filename></annotation>")
    with pytest.raises(ValueError, match="xml: the XML of Pascal VOC has boxes and no outlines"):
        read_annotations(root / "xml", masks=True)


def test_a_batch_has_masks_of_the_resized_image(root):
    written(root, content([TRIANGLE], run_lengths(True), [SQUARE]))
    data = DetectionData(
        str(root), train=Split("train.json"), resize=Resize([120]), masks=True, num_workers=0, augment=[]
    )
    (batch,) = data.train_dataloader()
    masks = batch.targets.masks
    boxes = [[20.6, 10.4, 81.8, 101.4], [100, 20, 140, 61]]
    np.testing.assert_allclose(batch.targets.boxes[0, :2], boxes, rtol=1e-5)
    assert masks.windows[0, :2].tolist() == [[20, 10, 60, 90], [100, 20, 40, 42]]
    assert masks.sizes.tolist() == [[120, 160]]
    assert batch.sources[0].truth.masks.rles() == data.records("train").instances.masks.rles()

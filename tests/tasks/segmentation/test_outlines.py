"""Each faulty outline is reported with its annotation, by the check and by the reader alike."""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from vertebra.tasks.loading.coco.outlines import draw_outline, find_outline_fault
from vertebra.tasks.loading.files import faults
from vertebra.tasks.segmentation import SegmentationData
from vertebra.tasks.segmentation.formats import Split
from vertebra.tasks.segmentation.formats.coco import read_polygons
from vertebra.tools import check

HEIGHT, WIDTH = 20, 30
SQUARE = [2, 2, 12, 2, 12, 12, 2, 12]
RUNS = [45, 5, 550]  # 5 pixels of column 2

UNREADABLE = faults.UNREADABLE_ANNOTATIONS
FAULTY = {
    "absent": (None, faults.MISSING_OUTLINE, "outline is None"),
    "empty": ([], faults.MISSING_OUTLINE, "outline is []"),
    "empty polygon": ([[]], faults.MISSING_OUTLINE, "polygons are empty"),
    "run lengths as polygon": ([[45, 5, 550]], UNREADABLE, "add up to the 600 pixels"),
    "run lengths as polygon, an even number of them": ([[45, 5, 500, 50]], UNREADABLE, "add up to the 600 pixels"),
    "two corners": ([[2, 2, 12, 2]], faults.DEGENERATE_OUTLINE, "has 2 corners"),
    "two corners of a part": ([SQUARE, [2, 2, 12, 2]], faults.DEGENERATE_OUTLINE, "part 2 of 2 of its outline has 2"),
    "a line": ([[2, 2, 12, 2, 7, 2]], faults.DEGENERATE_OUTLINE, "has no area"),
    "flat": (SQUARE, UNREADABLE, "not within a list"),
    "pairs": ([[[2, 2], [12, 2], [12, 12]]], UNREADABLE, "corners are lists"),
    "an odd number": ([SQUARE[:-1]], UNREADABLE, "has 7 numbers"),
    "text": ([[*SQUARE[:-1], "12"]], UNREADABLE, "expected numbers"),
    "null": ([[*SQUARE[:-1], None]], UNREADABLE, "expected numbers"),
    "NaN": ([[*SQUARE[:-1], float("nan")]], UNREADABLE, "not finite"),
    "an integer out of range": ([[*SQUARE[:-1], 10**400]], UNREADABLE, "out of any range"),
    "a string": ("2 2 12 2 12 12", UNREADABLE, "expected a list of polygons"),
    "fractions": ([[0.1, 0.1, 0.5, 0.1, 0.5, 0.5]], UNREADABLE, "fractions of the image"),
    "outside": ([[40, 2, 50, 2, 50, 12]], faults.OUTSIDE_OUTLINE, "x 40..50"),
    "far outside": ([[2, 2, 1e9, 2, 1e9, 12]], UNREADABLE, "far outside"),
    "size exchanged": ({"counts": RUNS, "size": [WIDTH, HEIGHT]}, faults.SIZE_MISMATCH, "20 x 30 pixels, its image 30"),
    "too few pixels": ({"counts": [45, 5], "size": [HEIGHT, WIDTH]}, UNREADABLE, "cover 50 pixels"),
    "a negative run": ({"counts": [-45, 645], "size": [HEIGHT, WIDTH]}, UNREADABLE, "all integers"),
    "a huge size": ({"counts": [0], "size": [10**12, 10**12]}, UNREADABLE, "its size is"),
    "a negative size": ({"counts": [0], "size": [-20, 30]}, UNREADABLE, "its size is"),
    "no size": ({"counts": RUNS}, UNREADABLE, "its size is None"),
    "no counts": ({"size": [HEIGHT, WIDTH]}, UNREADABLE, "not an object with size and counts"),
    "bytes as text": ({"counts": "b'Q6o0'", "size": [HEIGHT, WIDTH]}, UNREADABLE, r"counts.decode()"),
    "no pixel": ({"counts": [600], "size": [HEIGHT, WIDTH]}, faults.DEGENERATE_OUTLINE, "has no pixel"),
}


def write(folder, outlines, size=(HEIGHT, WIDTH)):
    Image.new("RGB", size[::-1]).save(folder / "a.png")
    annotations = [
        {"id": 70 + place, "image_id": 1, "category_id": 1, "bbox": [2 + place, 2, 10, 10]}
        | ({} if outline is None else {"segmentation": outline})
        for place, outline in enumerate(outlines)
    ]
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": HEIGHT, "width": WIDTH}],
        "categories": [{"id": 1, "name": "cell"}],
        "annotations": annotations,
    }
    file = folder / "train.json"
    file.write_text(json.dumps(content))
    return file


@pytest.mark.parametrize(("outline", "kind", "message"), FAULTY.values(), ids=FAULTY)
def test_check_and_reader_report_the_same_with_the_annotation(tmp_path, capsys, outline, kind, message):
    file = write(tmp_path, [[SQUARE], outline])
    records, found = read_polygons(file, tmp_path)
    assert [fault.kind for fault in found] == [kind]
    assert str(found[0]).startswith(f"{file}: image 'a.png' (id 1), annotation 71: ")
    assert message in found[0].message
    assert np.count_nonzero(records.read_mask(0, (HEIGHT, WIDTH))) == 100  # the sound outline alone
    assert check.main([str(file)]) == 1
    assert str(found[0]) in capsys.readouterr().out.splitlines()
    data = SegmentationData(str(tmp_path), Split("train.json", "."))
    if kind in (faults.DEGENERATE_OUTLINE, faults.OUTSIDE_OUTLINE):
        with pytest.warns(UserWarning, match=f"left out 1 x {kind}"):
            data.records("train")
    else:
        with pytest.raises(ValueError, match="annotation 71"):
            data.records("train")


@pytest.mark.parametrize("outline", [None, []])
def test_boxes_without_any_outline_are_sound_for_detection_and_refused_for_segmentation(tmp_path, capsys, outline):
    file = write(tmp_path, [outline, outline])
    assert check.main([str(file)]) == 0
    assert "2 boxes: cell 2; no outlines, which segmentation needs" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"none of its 2 annotations has an outline .* annotation 70"):
        read_polygons(file, tmp_path)


def test_sound_outlines_have_no_fault_and_are_drawn_as_coco_draws_them():
    closed = [*SQUARE, *SQUARE[:2]]
    eight = [2, 2, 12, 12, 12, 2, 2, 12]  # its signed area is 0
    over = [-0.5, 2, 12, 2, 12, 20.4, -0.5, 12]
    for outline in ([closed], [eight], [over], [SQUARE, [20, 4, 28, 4, 24, 15]]):
        assert find_outline_fault(outline, HEIGHT, WIDTH) is None
        expected = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(outline, HEIGHT, WIDTH)))
        np.testing.assert_array_equal(draw_outline(outline, HEIGHT, WIDTH), expected.astype(bool))
    drawn = np.random.default_rng(0).random((HEIGHT, WIDTH)) < 0.3
    runs = coco_mask.encode(np.asfortranarray(drawn.astype(np.uint8)))
    runs = {"size": list(runs["size"]), "counts": runs["counts"].decode()}
    assert find_outline_fault(runs, HEIGHT, WIDTH) is None
    np.testing.assert_array_equal(draw_outline(runs, HEIGHT, WIDTH), drawn)


def test_ids_names_and_sizes_are_checked(tmp_path):
    file = write(tmp_path, [[SQUARE], [SQUARE], [SQUARE]])
    content = json.loads(file.read_text())
    content["annotations"][1]["image_id"] = 9
    content["annotations"][2] |= {"category_id": 8, "id": 70}
    content["images"] += [{"id": 2, "file_name": "b.png", "height": 1e300, "width": 5}]
    content["images"] += [{"id": 3, "file_name": "../b.png", "height": 5, "width": 5}]
    content["images"] += [{"id": 4, "file_name": "a.png", "height": HEIGHT, "width": WIDTH}]
    content["categories"] += [{"id": 2, "name": " "}, {"id": 3, "name": "Cell"}]
    file.write_text(json.dumps(content))
    (tmp_path / "b.png").touch()
    _, found = read_polygons(file, tmp_path)
    assert sorted(fault.kind for fault in found) == sorted(
        [
            faults.UNKNOWN_IMAGE,
            faults.UNKNOWN_CATEGORY,
            faults.DUPLICATE_ID,
            faults.UNUSABLE_SIZE,
            faults.OUTSIDE_ROOT,
            faults.DUPLICATE_FILE,
            faults.EMPTY_NAME,
            faults.SIMILAR_CLASSES,
        ]
    )
    assert any("annotation 71 is of image id 9" in str(fault) for fault in found)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "nested deeper than JSON can be read"),
        ('{"images": 3}', "has images; a COCO annotation file is"),
        ('{"images": [3], "annotations": [], "categories": []}', r"images\[0\] is 3; expected an object"),
        (
            '{"images": [], "annotations": [], "categories": [{"id": true, "name": "a"}]}',
            r"categories\[0\] has the id True; expected a whole number",
        ),
        ("\0", "line 1, column 1"),
    ],
)
def test_what_is_no_coco_file_is_one_sentence(tmp_path, text, message):
    file = tmp_path / "a.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=rf"a\.json:? {message}|a\.json: .*{message}"):
        read_polygons(file, tmp_path)


def test_a_category_of_the_name_background_is_the_background(tmp_path):
    file = write(tmp_path, [[SQUARE]])
    content = json.loads(file.read_text())
    content["categories"].insert(0, {"id": 0, "name": "background"})
    file.write_text(json.dumps(content))
    records, found = read_polygons(file, tmp_path)
    assert records.class_names == ("background", "cell")
    assert not found

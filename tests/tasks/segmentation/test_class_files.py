"""Class files of several tools are read as what they mean, or refused; never as wrong names."""

import json

import pytest

from vertebra.tasks.segmentation.class_files import read_classes
from vertebra.tasks.segmentation.ignore import IGNORE_INDEX

GRAY = {0: "background", 3: "road"}
COLOR = {0: "background", 0x804000: "road"}
RECOGNIZED = {
    "values first": ("c.txt", "0 background\n3 road\n", GRAY),
    "values and a colon": ("c.txt", "0: background\n3: road\n", GRAY),
    "values last": ("c.txt", "background,0\nroad,3\n", GRAY),
    "a table of ids": ("c.csv", "id,name\n0,background\n3,road\n", GRAY),
    "a table with semicolons and a mark": ("c.csv", "\ufeffname;value;shown\nbackground;0;x\nroad;3;y\n", GRAY),
    "a table of colors": ("class_dict.csv", "name,r,g,b\nbackground,0,0,0\nroad,128,64,0\n", COLOR),
    "colors last": ("c.txt", "background 0 0 0\nroad 128 64 0\n", COLOR),
    "CVAT": ("labelmap.txt", "# label:color_rgb:parts:actions\nbackground:0,0,0::\nroad:128,64,0::\n", COLOR),
    "labelme": ("labels.txt", "__ignore__\n_background_\nroad\n", {0: "_background_", 1: "road"}),
    "comments": ("c.txt", "# classes\nbackground\nroad\n", {0: "background", 1: "road"}),
    "names of numbers": ("c.txt", "lane 1\nlane 2\n", {0: "lane 1", 1: "lane 2"}),
    "JSON, names to values": ("c.json", json.dumps({"background": 0, "road": 3}), GRAY),
    "JSON, values to names": ("c.json", json.dumps({"0": "background", "3": "road"}), GRAY),
    "JSON, names to colors": ("c.json", json.dumps({"background": [0, 0, 0], "road": [128, 64, 0]}), COLOR),
    "JSON, COCO's": ("c.json", json.dumps({"categories": [{"id": 3, "name": "road"}]}), {3: "road"}),
    "YOLO's": ("data.yaml", "nc: 2\nnames: {0: background, 3: road}\n", GRAY),
    "YOLO's list": ("data.yaml", "names: [background, road]\n", {0: "background", 1: "road"}),
}


@pytest.mark.parametrize(("name", "text", "expected"), RECOGNIZED.values(), ids=RECOGNIZED)
def test_class_files_of_other_tools_are_recognized(tmp_path, name, text, expected):
    (tmp_path / name).write_text(text)
    found = read_classes(tmp_path / name)
    meant = zip(found.values.tolist(), found.meanings.tolist(), strict=True)
    assert {value: found.class_names[label] for value, label in meant if label != IGNORE_INDEX} == expected
    assert found.in_color == (expected is COLOR)
    assert found.assumes_void != found.in_color


REFUSED = {
    "a number behind every name": ("c.txt", "road 0\nsky 1\n", "put values in front"),
    "protobuf": ("c.txt", "item {\n id: 1\n name: 'road'\n}\n", "begins with 'item {'"),
    "JSON in a text file": ("c.txt", '{"road": 0}\n', "begins with"),
    "a table without values": ("c.csv", "name,shown\nroad,yes\nsky,no\n", "',' in every line"),
    "a table with both": ("c.csv", "id,name,r,g,b\n0,road,1,2,3\n", "a value and a color"),
    "a row too short": ("c.csv", "id,name\n0,road\n1\n", "has 2 columns"),
    "a color out of range": ("c.txt", "1 2 300 road\n", "out of 0..255"),
    "a value out of range": ("c.txt", "0 road\n300 sky\n", "which a mask of 8 bits cannot hold"),
    "a value twice": ("c.txt", "1 road\n1 sky\n", "another class"),
    "names that differ by case": ("c.txt", "road\nRoad\n", "nearly the same name"),
    "another number of names": ("data.yaml", "nc: 3\nnames: [road, sky]\n", "nc is 3"),
    "no classes": ("c.json", '{"version": "5"}', "maps no values"),
    "no YAML": ("c.yaml", "a: [", "expected one class name a line"),
    "nothing": ("c.txt", "\n", "holds no names"),
    "binary": ("c.txt", "a\0b", "is not text"),
}


@pytest.mark.parametrize(("name", "text", "message"), REFUSED.values(), ids=REFUSED)
def test_other_files_are_refused_in_one_sentence(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=rf"{name}: .*") as error:
        read_classes(tmp_path / name)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_and_utf16_are_refused(tmp_path):
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(ValueError, match="is a folder"):
        read_classes(tmp_path / "a.txt")
    (tmp_path / "b.txt").write_text("road\n", encoding="utf-16")
    with pytest.raises(ValueError, match="UTF-16"):
        read_classes(tmp_path / "b.txt")


def test_void_by_name_is_ignored_and_voc_declares_its_border(tmp_path):
    (tmp_path / "c.txt").write_text("0 road\n1 sky\n7 void\n255 unlabeled\n")
    found = read_classes(tmp_path / "c.txt")
    assert found.class_names == ("road", "sky")
    assert not found.assumes_void
    assert dict(zip(found.values.tolist(), found.meanings.tolist(), strict=True)) == {0: 0, 1: 1, 7: 255, 255: 255}
    assert not read_classes("voc").assumes_void

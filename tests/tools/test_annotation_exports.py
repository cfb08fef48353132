"""Exports of FiftyOne and Label Studio, in the layouts that they write, are read as they come or refused by name."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from vertebra.tasks.loading.files import faults
from vertebra.tools import check

NAMES = [f"ab12-{i:03d}" for i in range(4)]
CATEGORIES = ("cat", "dog")
LABEL_LINES = "0 0.5 0.5 0.2 0.3\n1 0.3 0.3 0.1 0.2\n"
VOC = """<annotation><folder>data</folder><filename>{0}.jpg</filename><path>/home/a/{0}.jpg</path><source><database>
</database></source><size><width>64</width><height>48</height><depth>3</depth></size><segmented></segmented><object>
<name>{1}</name><pose></pose><truncated>0</truncated><difficult>0</difficult><bndbox><xmin>5</xmin><ymin>6</ymin>
<xmax>25</xmax><ymax>21</ymax></bndbox></object></annotation>"""


def write_images(folder):
    folder.mkdir(parents=True)
    for i, name in enumerate(NAMES):
        pixels = np.random.default_rng(i).integers(0, 255, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.jpg")


def write_texts(folder, texts, suffix):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in zip(NAMES, texts, strict=True):
        (folder / f"{name}{suffix}").write_text(text)


def coco(prefix="", first=1, **annotation):
    images = [
        {"id": i + first, "file_name": f"{prefix}{name}.jpg", "height": 48, "width": 64} for i, name in enumerate(NAMES)
    ]
    annotations = [
        {"id": i, "image_id": i + first, "category_id": i % 2 + first, "bbox": [5 + i, 6, 20, 15], "area": 300}
        | {"iscrowd": 0, **annotation}
        for i in range(len(NAMES))
    ]
    categories = [{"id": k + first, "name": name, "supercategory": None} for k, name in enumerate(CATEGORIES)]
    return json.dumps({"info": {}, "categories": categories, "images": images, "annotations": annotations})


def voc_texts():
    return [VOC.format(name, CATEGORIES[i % 2]) for i, name in enumerate(NAMES)]


def fiftyone_coco(root):
    write_images(root / "data")
    (root / "labels.json").write_text(coco())


def fiftyone_yolo(root):
    for split in ("train", "val"):
        write_images(root / "images" / split)
        write_texts(root / "labels" / split, [LABEL_LINES] * 4, ".txt")
    for i, name in enumerate(NAMES):  # no leak
        Image.new("RGB", (64, 48), (i, 99, 0)).save(root / f"images/val/{name}.jpg")
    text = "names:\n  0: cat\n  1: dog\npath: /home/someone/export\ntrain: ./images/train/\nval: ./images/val/\n"
    (root / "dataset.yaml").write_text(text)


def fiftyone_voc(root):
    write_images(root / "data")
    write_texts(root / "labels", voc_texts(), ".xml")


def label_studio_coco(root, separator="/"):
    write_images(root / "images")
    (root / "result.json").write_text(coco(f"images{separator}", first=0, segmentation=[], ignore=0))


def label_studio_coco_of_windows(root):
    label_studio_coco(root, "\\")


def label_studio_yolo(root):
    write_images(root / "images")
    write_texts(root / "labels", [LABEL_LINES] * 4, ".txt")
    (root / "classes.txt").write_text("cat\ndog")
    (root / "notes.json").write_text(json.dumps({"categories": [{"id": 0, "name": "cat"}], "info": {}}))


def label_studio_voc(root):
    write_images(root / "images")
    write_texts(root / "Annotations", voc_texts(), ".xml")


@pytest.mark.parametrize(
    ("write", "boxes"),
    [
        (fiftyone_coco, "4 boxes: cat 2, dog 2"),
        (fiftyone_yolo, "8 boxes: cat 4, dog 4"),
        (fiftyone_voc, "4 boxes: cat 2, dog 2"),
        (label_studio_coco, "4 boxes: cat 2, dog 2"),
        (label_studio_coco_of_windows, "4 boxes: cat 2, dog 2"),
        (label_studio_yolo, "8 boxes: cat 4, dog 4"),
        (label_studio_voc, "4 boxes: cat 2, dog 2"),
    ],
)
def test_an_export_is_read_as_it_comes(write, boxes, tmp_path, capsys):
    write(tmp_path / "export")
    assert check.main([str(tmp_path / "export")]) == 0
    assert f"4 images, {boxes}" in capsys.readouterr().out


def test_images_and_masks_are_not_two_classes(tmp_path, capsys):
    write_images(tmp_path / "data")
    (tmp_path / "labels").mkdir()
    for i, name in enumerate(NAMES):
        Image.fromarray(np.full((48, 64), i % 2, np.uint8)).save(tmp_path / f"labels/{name}.png")
    assert check.main([str(tmp_path)]) == 1
    assert faults.MISSING_FILE in capsys.readouterr().out  # of the names of the classes
    (tmp_path / "classes.txt").write_text("sky\nroad\n")
    assert check.main([str(tmp_path)]) == 0
    assert "4 images" in capsys.readouterr().out


TASK = {"id": 1, "annotations": [{"result": []}], "data": {"image": "/data/upload/1/ab12-000.jpg"}}


@pytest.mark.parametrize(
    ("file", "text", "tool"),
    [
        ("project-1-at-2026-11-20.json", json.dumps([TASK]), "Label Studio"),
        ("project-1.json", json.dumps([{"image": "/data/upload/1/a.jpg", "id": 1, "annotator": 1}]), "Label Studio"),
        ("project-1.csv", "image,id,choice,annotator,annotation_id\n/data/a.jpg,1,cat,1,1\n", "Label Studio"),
        ("labels.json", json.dumps({"classes": ["cat"], "labels": {"ab12-000": 0}}), "FiftyOne"),
        ("samples.json", json.dumps({"samples": []}), "FiftyOne"),
    ],
)
def test_a_format_of_a_tool_is_named_with_the_export_to_choose(file, text, tool, tmp_path, capsys):
    write_images(tmp_path / "images")
    (tmp_path / file).write_text(text)
    for path in (tmp_path, tmp_path / file):
        with pytest.raises(SystemExit):
            check.main([str(path)])
        assert f"{tmp_path / file} is {tool}'s own format; export as " in capsys.readouterr().err
    # beside an export that can be read it does not matter
    shutil.rmtree(tmp_path / "images")
    label_studio_voc(tmp_path)
    assert check.main([str(tmp_path)]) == 0

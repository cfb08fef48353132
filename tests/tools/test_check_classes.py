"""Faults of labeled files are the same for the check and for training, kind by kind."""

import io
import json
import os
import re
import sys
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from vertebra.tasks.classification import ClassificationData
from vertebra.tasks.loading.files import faults
from vertebra.tasks.medical import MedicalData
from vertebra.tasks.reporting.class_report import class_sections
from vertebra.tasks.scoring.class_metrics import ClassificationMetric
from vertebra.tasks.segmentation.formats import Split, read_split
from vertebra.tasks.video import VideoData
from vertebra.tasks.video.formats import read_labeled_videos
from vertebra.tools import check, main

SOUND = "path,label\nx/0.png,cat\nx/1.png,dog\n"


@pytest.fixture
def root(tmp_path):
    (tmp_path / "data/x").mkdir(parents=True)
    for place in range(4):
        pixels = np.random.default_rng(place).integers(0, 255, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"data/x/{place}.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "secret.png")
    return tmp_path / "data"


def kinds(capsys, *arguments):
    code = check.main([str(argument) for argument in arguments])
    found = [line[line.rindex("[") + 1 : -1] for line in capsys.readouterr().out.splitlines() if line[-1:] == "]"]
    assert code == bool(found)
    return sorted(found)


def refused(load):
    """Return the kind of the fault that loading stops at, or of the one that it warns of."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            load()
        except ValueError as error:
            return re.findall(r"\[([^\]]*)\]", str(error))[-1]
    return str(warned[0].message).split(" x ")[1].split(";")[0]


PLANTED = {
    "another class": ("x/2.png,bird\n", "val", faults.UNKNOWN_CATEGORY),
    "no label": ("x/2.png,\n", "train", faults.UNREADABLE_ANNOTATIONS),
    "blanks for a label": ("x/2.png,   \n", "train", faults.UNREADABLE_ANNOTATIONS),
    "no path": (",cat\n", "train", faults.UNREADABLE_ANNOTATIONS),
    "twice": ("x/0.png,cat\n", "train", faults.DUPLICATE_FILE),
    "twice, spelled otherwise": ("./x//0.png,cat\n", "train", faults.DUPLICATE_FILE),
    "under two classes": ("x/0.png,dog\n", "train", faults.CONFLICTING_LABELS),
    "another case": ("x/2.png,Cat\n", "train", faults.SIMILAR_CLASSES),
    "outside": ("../secret.png,cat\n", "train", faults.OUTSIDE_ROOT),
    "an absolute path": ("/etc/hostname,cat\n", "train", faults.OUTSIDE_ROOT),
}


@pytest.mark.parametrize(("row", "split", "kind"), PLANTED.values(), ids=PLANTED)
@pytest.mark.parametrize("task", [ClassificationData, VideoData])
def test_rows_of_a_table(root, capsys, task, row, split, kind):
    text = SOUND if task is ClassificationData else SOUND.replace(".png", ".mp4")
    row = row if task is ClassificationData else row.replace(".png", ".mp4")
    for place in range(4):
        (root / f"x/{place}.mp4").write_bytes(bytes([place]) * (place + 1))
    for name in ("train", "val"):
        (root / f"{name}.csv").write_text(text + (row if name == split else ""))
    found = kinds(capsys, root / "train.csv", root / "val.csv")
    expected = [name for name in found if name not in (faults.LEAK, faults.UNREADABLE_VIDEO)]
    assert expected == [kind]
    data = task(str(root), "train.csv", "val.csv")
    assert refused(lambda: data.records(split)) == kind


def test_leading_zeros_are_named(root, capsys):
    (root / "train.csv").write_text("path,label\nx/0.png,01\nx/1.png,1\nx/2.png,2\n")
    assert kinds(capsys, root / "train.csv") == [faults.SIMILAR_CLASSES]


def test_classes_in_folders(root, capsys):
    for place, name in enumerate(["train/cat", "train/dog", "train/Dog", "val/cat", "val/bird"]):
        (root / name).mkdir(parents=True)
        (root / "x/0.png").rename(root / name / "0.png") if place == 0 else Image.new("RGB", (9 + place, 8)).save(
            root / name / "0.png"
        )
    assert kinds(capsys, root) == sorted([faults.SIMILAR_CLASSES, faults.UNKNOWN_CATEGORY])
    data = ClassificationData(str(root))
    assert refused(lambda: data.records("train")) == faults.SIMILAR_CLASSES
    assert refused(lambda: data.records("val")) == faults.UNKNOWN_CATEGORY


def test_one_class_is_refused(root, capsys):
    (root / "train.csv").write_text("path,label\nx/0.png,cat\nx/1.png,cat\n")
    assert kinds(capsys, root / "train.csv") == [faults.ONE_CLASS]
    assert refused(lambda: ClassificationData(str(root), "train.csv").records("train")) == faults.ONE_CLASS
    with pytest.raises(ValueError, match="only class"):
        ClassificationData(str(root), ".").records("train")


def test_the_same_picture_under_two_classes_is_named(root, capsys):
    for name in ("cat", "dog"):
        (root / "train" / name).mkdir(parents=True)
        (root / "train" / name / f"{name}.png").write_bytes((root / "x/0.png").read_bytes())
    assert kinds(capsys, root / "train") == [faults.CONFLICTING_LABELS]


def test_videos_of_lists_lie_below_the_root(root):
    (root / "list.txt").write_text("x/0.png 1\n../secret.png 2\n/etc/hostname 1\nx/0.png 2\n")
    (root / "list.json").write_text(
        json.dumps([{"id": "../secret.png", "template": "a"}, {"id": "x", "template": "b"}])
    )
    for source in ("list.txt", "list.json"):
        with pytest.raises(ValueError, match="outside the data root"):
            VideoData(str(root), source).records("train")
        files, _ = read_labeled_videos(root, source)
        assert not any("secret" in name or "hostname" in name for name in files.names)  # they may be devices


def test_scans_of_a_table_lie_below_the_root(root, capsys):
    (root / "train.csv").write_text("path,label,who\nx/0.png,a,p\nx/1.png,b,q\n../secret.png,b,r\n")
    assert kinds(capsys, root / "train.csv", "--patient", "who") == [faults.OUTSIDE_ROOT]
    with pytest.raises(ValueError, match=r"line 4: refers to .*secret\.png"):
        MedicalData(str(root), "train.csv").records("train")


def test_masks_of_a_list_lie_below_the_root(root):
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    (root / "ImageSets/Segmentation/train.txt").write_text("../../secret\ngone\ngone\n")
    _, found = read_split(root, Split("ImageSets/Segmentation/train.txt"), "voc")
    assert [fault.kind for fault in found] == [faults.DUPLICATE_FILE, faults.OUTSIDE_ROOT, *[faults.MISSING_FILE] * 2]


def test_names_that_are_not_utf8_are_printed(root, monkeypatch, capsys):
    (root / "train/cat").mkdir(parents=True)
    (root / "train/dog").mkdir()
    (root / os.fsdecode(b"train/cat/caf\xe9.png")).write_bytes(b"no image")
    (root / "x/0.png").rename(root / "train/dog/0.png")
    written = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="strict")  # as the terminal of a process
    monkeypatch.setattr(sys, "stdout", written)
    assert main.main(["check", str(root)]) == 1
    written.flush()
    assert "caf\\udce9.png: not an image" in written.buffer.getvalue().decode()
    assert capsys.readouterr().err == ""


def test_classes_that_are_not_measured_are_reported(root):
    for name, text in (("train", SOUND), ("val", "path,label\nx/2.png,cat\n")):
        (root / f"{name}.csv").write_text(text)
    data = ClassificationData(str(root), "train.csv", "val.csv")
    with pytest.warns(UserWarning, match=r"val\.csv: has samples of 1 of 2 classes, and none of dog"):
        data.records("val")
    metric = ClassificationMetric(("cat", "dog"))
    metric.update(torch.zeros(1, 2), torch.tensor([0]), torch.tensor([0]))
    assert "Means are over 1 of 2 classes" in class_sections(metric.compute())[0].html

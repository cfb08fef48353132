"""Lists of videos in the forms that people have."""

import json
from pathlib import Path

import pytest

from vertebra.tasks.video import VideoData
from vertebra.tasks.video.formats import read_labeled_videos


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def read_pairs(root: Path, source: str, names=None):
    files, faults = read_labeled_videos(root, source, names)
    pairs = [
        (str(Path(f).relative_to(root)), files.class_names[label])
        for f, label in zip(files.names, files.labels, strict=True)
    ]
    return pairs, [fault.kind for fault in faults]


def test_folders_and_tables(tmp_path):
    touch(tmp_path, "train/run/a.mp4", "train/jump/deep/b.AVI", "train/jump/notes.txt")
    assert read_pairs(tmp_path, "train") == ([("train/jump/deep/b.AVI", "jump"), ("train/run/a.mp4", "run")], [])
    (tmp_path / "list.csv").write_text("path,label,from\ntrain/run/a.mp4,run,x\ntrain/jump/deep/b.AVI,jump,y\n")
    files, _ = read_labeled_videos(tmp_path, "list.csv", group="from")
    assert files.groups.tolist() == ["x", "y"]
    with pytest.raises(ValueError, match="expected path and label and camera"):
        read_labeled_videos(tmp_path, "list.csv", group="camera")


@pytest.mark.parametrize("between", [" ", ",", "\t"])
def test_kinetics_lists_have_no_head(tmp_path, between):
    touch(tmp_path, "v/a b.mp4", "v/c.mp4")
    (tmp_path / "train.csv").write_text(f"v/a b.mp4{between}10\nv/c.mp4{between}9\n")
    assert read_pairs(tmp_path, "train.csv") == ([("v/a b.mp4", "10"), ("v/c.mp4", "9")], [])
    assert read_labeled_videos(tmp_path, "train.csv")[0].class_names == ("9", "10")


def test_ucf101(tmp_path):
    touch(tmp_path, "Archery/v_a.avi", "Bowling/v_b.avi")
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "classInd.txt").write_text("1 Archery\n2 Bowling\n")
    (lists / "trainlist01.txt").write_text("Bowling/v_b.avi 2\nArchery/v_a.avi 1\n")
    (lists / "testlist01.txt").write_text("Archery/v_a.avi\nCurling/v_c.avi\n")
    expected = [("Bowling/v_b.avi", "Bowling"), ("Archery/v_a.avi", "Archery")]
    assert read_pairs(tmp_path, "lists/trainlist01.txt") == (expected, [])
    assert read_pairs(tmp_path, "lists/testlist01.txt", ["Archery", "Bowling"]) == ([expected[1]], ["unknown category"])


def test_hmdb51(tmp_path):
    touch(tmp_path, "lists/brush_hair_test_split1.txt", "lists/run_test_split1.txt")
    (tmp_path / "lists/brush_hair_test_split1.txt").write_text("a.avi 1 \nb.avi 2 \nc.avi 0 \n")
    (tmp_path / "lists/run_test_split1.txt").write_text("d [x].avi 1\n")
    assert read_pairs(tmp_path, "lists:train")[0] == [("brush_hair/a.avi", "brush_hair"), ("run/d [x].avi", "run")]
    assert read_pairs(tmp_path, "lists:test")[0] == [("brush_hair/b.avi", "brush_hair")]
    with pytest.raises(ValueError, match="followed by :train or :test"):
        read_pairs(tmp_path, "lists:val")


def test_something_something(tmp_path):
    touch(tmp_path, "7.webm", "8/00001.jpg")
    rows = [
        {"id": "7", "label": "pushing a cup", "template": "Pushing [something]"},
        {"id": "8", "template": "Pulling [something]"},
    ]
    (tmp_path / "train.json").write_text(json.dumps(rows))
    assert read_pairs(tmp_path, "train.json")[0] == [("7.webm", "Pushing something"), ("8", "Pulling something")]
    (tmp_path / "odd.json").write_text('{"a": 1}')
    with pytest.raises(ValueError, match=r"odd\.json: is no list"):
        read_pairs(tmp_path, "odd.json")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": "gone"}, "gone does not exist"),
        ({"train": "a.csv"}, "2 of 2 files do not exist"),
        ({"train": "odd.xyz"}, "none of the known formats"),
        ({"folds": 3, "fold": 3}, "fold is 3 of 3"),
        ({"val_clips": 0}, "val_clips 0"),
    ],
)
def test_invalid_lists_are_refused(tmp_path, options, message):
    (tmp_path / "a.csv").write_text("path,label\nnone.mp4,run\nno.mp4,jump\n")
    (tmp_path / "odd.xyz").write_text("")
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        VideoData(str(tmp_path), **options).records("train")

"""Faults of a small data set, which `vertebra fit` answers before torch is imported."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vertebra.tools import fit
from vertebra.tools.autoconfig import early_reading


def first(folder, pattern):
    return sorted(Path(folder).rglob(pattern))[0]


def classes_too_deep(data):
    folders = sorted((data / "train").iterdir())
    for folder, name in zip(folders, "ab", strict=False):
        (data / "train/only").mkdir(exist_ok=True)
        folder.rename(data / "train/only" / name)
    for folder in folders[2:]:
        shutil.rmtree(folder)


def broken_json(data):
    first(data, "*train*.json").write_text('{"images": [')


def empty_json(data):
    first(data, "*train*.json").write_text("")


def no_training_split(data):
    first(data, "*train*.json").unlink()


def other_value(data):
    for file in (data / "masks").rglob("*.png"):
        Image.fromarray(np.full_like(Image.open(file), 77)).save(file)


def no_clips(data):
    for clip in first(data / "train", "*").iterdir():
        clip.unlink()


def no_labels(data):
    (data / "train.csv").write_text((data / "train.csv").read_text().replace("label", "diagnosis", 1))


def cells_without_columns(data):
    (data / "train.csv").write_text("path;label\na.nii.gz;healthy;x;y\n")


def patients_of_two_splits(data):
    (data / "val.csv").write_text((data / "train.csv").read_text())


def table_of_bytes(data):
    (data / "train.csv").write_bytes(b"\xff\xfe\x00\xd8")


@pytest.mark.parametrize(
    ("task", "damage", "sentence"),
    [
        ("classification", classes_too_deep, "If the folders below it are the classes (a, b), give data/train/only."),
        ("detection", broken_json, "expected JSON. Write the file again."),
        ("detection", empty_json, "expected JSON. Write the file again."),
        ("detection", no_training_split, "has the split val only; expected one to train on."),
        ("segmentation", other_value, "the values 77 (5120 pixels) have no class"),
        ("video", no_clips, "none of which is a sample"),
        ("medical", no_labels, "has no column label; its columns are"),
        ("medical", cells_without_columns, "train.csv: line 2 has 4 cells, the first line 2"),
        ("medical", patients_of_two_splits, "who is also in"),
        ("medical", table_of_bytes, "train.csv: is text in UTF-16; expected text in UTF-8."),
    ],
)
def test_a_broken_data_set_is_answered_in_a_sentence(task, damage, sentence, answer, request, tmp_path, monkeypatch):
    monkeypatch.setattr(fit, "_train", lambda args: pytest.fail("reached the training"))
    data = tmp_path / "data"
    shutil.copytree(request.getfixturevalue(f"{task}_samples"), data)
    damage(data)
    (line,) = answer("data").splitlines()
    assert line.startswith("vertebra: data")
    assert sentence in line


def test_large_data_sets_and_other_arguments_of_the_data_are_left_to_the_run(words, request, tmp_path, monkeypatch):
    shutil.copytree(request.getfixturevalue("medical_samples"), tmp_path / "data")
    no_labels(tmp_path / "data")
    assert words("data", "--data.columns.labels", "[diagnosis]")
    monkeypatch.setattr(early_reading, "MOST_FILES", 3)
    assert words("data", "--batch", "2")
    monkeypatch.setattr(early_reading, "MOST_FILES", 3000)
    assert fit.main(["fit", "data", "--batch", "2"]) == 1


@pytest.mark.parametrize("command", ["validate", "test"])
def test_an_evaluation_on_no_data_set_is_answered_before_the_checkpoint_is_read(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for folder in ("run/checkpoints", "flat"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "run/checkpoints/best.ckpt").touch()  # no checkpoint
    Image.new("RGB", (8, 8)).save(tmp_path / "flat/0.png")
    assert fit.main([command, "run", "flat"]) == 1
    assert "flat holds images such as 0.png, and no labels" in capsys.readouterr().err

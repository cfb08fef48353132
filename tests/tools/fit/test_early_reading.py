"""Faults of a small data set, which `vertebra fit` answers before torch is imported."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vertebra.tools import fit
from vertebra.tools.arguments.config_files import find_config
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


def test_other_arguments_of_the_data_are_kept_and_large_data_sets_left_to_the_run(
    words, request, tmp_path, monkeypatch
):
    shutil.copytree(request.getfixturevalue("medical_samples"), tmp_path / "data")
    no_labels(tmp_path / "data")
    assert fit.main(["fit", "data", "--data.columns.labels", "[diagnosis]"]) == 1  # of val.csv
    assert words("data", "--data.columns.labels", "[diagnosis]", "--data.val_fraction", "0.5")
    monkeypatch.setattr(early_reading, "MOST_FILES", 3)
    assert words("data", "--batch", "2")
    monkeypatch.setattr(early_reading, "MOST_FILES", 3000)
    assert fit.main(["fit", "data", "--batch", "2"]) == 1


def without(pattern):
    return lambda data: first(data, pattern).unlink()


@pytest.mark.parametrize(
    ("task", "recipe", "damage", "sentence"),
    [
        ("classification", "classification/demo.yaml", classes_too_deep, "If the folders below it are the classes"),
        ("detection", "detection/demo.yaml", broken_json, "expected JSON. Write the file again."),
        ("detection", "detection/demo.yaml", without("*val*.json"), "To hold out a part of the training split: "),
        ("segmentation", "segmentation/demo.yaml", lambda data: shutil.rmtree(data / "masks/train"), "masks/train"),
        ("video", "video/demo.yaml", no_clips, "none of which is a sample"),
        ("medical", "medical/demo.yaml", no_labels, "has no column label; its columns are"),
        ("medical", "medical/demo.yaml", without("000003.nii.gz"), "000003.nii.gz"),
        ("medical", "medical/demo.yaml", patients_of_two_splits, "who is also in"),
    ],
)
def test_a_configuration_reads_its_data_before_torch_is_imported(
    task, recipe, damage, sentence, answer, request, tmp_path, monkeypatch
):
    started = []
    monkeypatch.setattr(fit, "_train", lambda args: started.append(args) or 1)
    shutil.copytree(request.getfixturevalue(f"{task}_samples"), tmp_path / "data")
    assert answer("-c", recipe, "--data.root", "data") == ""
    damage(tmp_path / "data")
    (line,) = answer("-c", recipe, "--data.root", "data").splitlines()
    assert sentence in line
    assert len(started) == 1
    # a class of the user, or an argument that is not known here, may read what is broken
    (tmp_path / "own.yaml").write_text((find_config(recipe)).read_text().replace("torch.optim", "my.optim"))
    assert answer("-c", "own.yaml", "--data.root", "data") == ""
    assert answer("-c", recipe, "--data.root", "data", "--data.train+", "x") == ""
    assert len(started) == 3


@pytest.mark.parametrize("command", ["validate", "test"])
def test_an_evaluation_on_a_broken_data_set_is_answered_before_torch_is_imported(
    command, detection_samples, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    config = (find_config("detection/demo.yaml")).read_text()
    classes = json.loads(first(detection_samples, "*val*.json").read_text())["categories"]
    weights = {"x": torch.zeros(2), "y": torch.nn.Parameter(torch.zeros(1))}
    content = {"class_names": [one["name"] for one in classes], "config": config, "state_dict": weights}
    torch.save(content, "run/checkpoints/best.ckpt")  # which the full reading refuses
    shutil.copytree(detection_samples, "data")
    first("data", "*train*.json").unlink()
    first("data/images/val", "*").unlink()
    assert fit.main([command, "run", "data"]) == 1
    assert "1 of 5 files do not exist, the first is " in capsys.readouterr().err


def test_an_evaluation_on_its_own_broken_data_set_is_answered_before_torch_is_imported(
    detection_samples, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    started = []
    monkeypatch.setattr(fit, "_train", lambda args: started.append(args) or 0)
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    config = find_config("detection/demo.yaml").read_text().replace("runs/demo_detection/data", "data")
    (tmp_path / "run/config.yaml").write_text(config)
    classes = json.loads(first(detection_samples, "*val*.json").read_text())["categories"]
    names = [one["name"] for one in classes]
    content = {"class_names": names, "config": config, "state_dict": {"x": torch.zeros(2)}}
    torch.save(content, "run/checkpoints/best.ckpt")
    shutil.copytree(detection_samples, "data")
    first("data", "*train*.json").write_text("broken, and not read")
    assert fit.main(["validate", "run"]) == 0
    first("data/images/val", "*").unlink()
    for call in (["run"], ["-c", "run/config.yaml"], ["run", "--data.class_names", json.dumps(names)]):
        assert fit.main(["validate", *call]) == 1
        assert "1 of 5 files do not exist, the first is " in capsys.readouterr().err
    Path("run/checkpoints/best.ckpt").write_text("damaged, which the run finds")
    assert fit.main(["validate", "run"]) == 0
    assert len(started) == 2


@pytest.mark.parametrize("command", ["validate", "test"])
def test_an_evaluation_on_no_data_set_is_answered_before_the_checkpoint_is_read(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for folder in ("run/checkpoints", "flat"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "run/checkpoints/best.ckpt").touch()  # no checkpoint
    Image.new("RGB", (8, 8)).save(tmp_path / "flat/0.png")
    assert fit.main([command, "run", "flat"]) == 1
    assert "flat holds images such as 0.png, and no labels" in capsys.readouterr().err

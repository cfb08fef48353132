"""Errors about arguments that only Lightning and jsonargparse find are one line, before the network is built."""

import argparse
from importlib.util import find_spec

import pytest
import torch

from vertebra.tools import train
from vertebra.tools.arguments.library_errors import library_message

SLIPS = {
    "--data.batch_size many": "--data.batch_size is many; expected int",
    "--trainer.max_epochs many": "--trainer.max_epochs is many; expected int",
    "--data.batchsize 3": "--data.batchsize does not exist",
    "--data.train.anotations x": "--data.train.anotations does not exist",
    "--model.optimizer Adamm": "--model.optimizer is Adamm, which is no class that it takes",
    "--trainer.callbacks+ EarlyStoping": "--trainer.callbacks is EarlyStoping, which is no class that it takes",
    "--trainer.precision half": "--trainer.precision is half; expected one of ",
    "--data.val null": "data.val is not given; set --data.val.annotations to its annotation file. To hold out a part",
}


# found by the Trainer, which is built after the network
OF_TRAINER = {
    "--trainer.accelerator gup": "You selected an invalid accelerator name",
    "--trainer.devices some": "`devices` selected with `CPUAccelerator` should be an int > 0",
    "--trainer.strategy dddp": "You selected an invalid strategy name",
}


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("slip", {**SLIPS, **OF_TRAINER})
def test_a_slip_is_one_line(slip, detection_samples, capsys, monkeypatch):
    if slip in SLIPS:
        monkeypatch.setattr(torch.nn.Module, "__init__", lambda self: pytest.fail("a network was built"))
    args = ["fit", "-c", "detection/demo.yaml", "--data.root", str(detection_samples), "--trainer.accelerator", "cpu"]
    assert train.main([*args, "--trainer.fast_dev_run", "1", *slip.split()]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("vertebra: ")]
    assert len(lines) == 1
    assert {**SLIPS, **OF_TRAINER}[slip] in lines[0]


def test_a_logger_that_is_not_installed_is_one_line(detection_samples, capsys):
    if find_spec("wandb"):
        pytest.skip("needs an installation without wandb")
    args = ["fit", "-c", "detection/demo.yaml", "--data.root", str(detection_samples), "--trainer.accelerator", "cpu"]
    assert train.main([*args, "--trainer.logger", "WandbLogger"]) == 1
    assert "WandbLogger needs the package wandb, which is not installed; run pip" in capsys.readouterr().err


def test_a_missing_gpu_is_one_line(detection_samples, capsys):
    if torch.cuda.is_available():
        pytest.skip("needs a machine without a GPU")
    args = ["fit", "-c", "detection/demo.yaml", "--data.root", str(detection_samples), "--trainer.accelerator", "gpu"]
    assert train.main(args) == 1
    assert "No supported gpu backend found! Choose with --device cpu" in capsys.readouterr().err


def test_a_missing_validation_folder_is_named_with_its_flag(classification_samples, capsys):
    args = ["fit", "-c", "classification/demo.yaml", "--data.root", str(classification_samples), "--data.val", "valid"]
    assert train.main([*args, "--trainer.accelerator", "cpu"]) == 1
    message = capsys.readouterr().err
    assert "valid does not exist" in message
    assert "The flag is --data.val." in message


def test_a_fault_of_the_training_split_is_no_matter_of_the_flag_for_validation(classification_samples, capsys):
    first = sorted(path.name for path in (classification_samples / "train").iterdir())[0]
    root = ["--data.root", str(classification_samples), "--data.val_fraction", "0.2"]
    for train_split, fault in (("gone", "gone does not exist"), (f"train/{first}", "holds no folders")):
        args = ["fit", "-c", "classification/demo.yaml", *root, "--data.train", train_split]
        assert train.main([*args, "--trainer.accelerator", "cpu"]) == 1
        message = capsys.readouterr().err
        assert fault in message
        assert "--data.val" not in message.replace("data.val_fraction=0.2", "")


@pytest.mark.parametrize(("flag", "value"), [("data.kind", "grades"), ("model.target", "Findings")])
def test_a_kind_of_labels_that_is_not_the_target_s_is_refused_before_the_data_is_read(flag, value, capsys):
    value = f"vertebra.tasks.medical.targets.{value}" if flag == "model.target" else value
    args = ["fit", "-c", "medical/demo.yaml", "--data.root", "nowhere", f"--{flag}", value]
    assert train.main(args) == 1
    assert "but model.target is for" in capsys.readouterr().err


def test_other_errors_are_bugs():
    assert library_message(ValueError("a shape")) is None
    assert library_message(KeyError("boxes")) is None
    assert "expected int" in library_message(
        argparse.ArgumentError(None, "Parser key \"a\":\n  Expected a <class 'int'>. Got value: x")
    )

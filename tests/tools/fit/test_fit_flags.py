"""Short flags of `vertebra fit`, the recipe of initial weights, and answers to slips."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from vertebra.backbones import create_backbone
from vertebra.tools import fit, main
from vertebra.tools.arguments.config_files import find_config
from vertebra.tools.arguments.read_configs import read_configs
from vertebra.tools.arguments.short_flags import AUTO_RATE, SHORT_FLAGS
from vertebra.tools.autoconfig import early_reading

pytestmark = pytest.mark.usefixtures("undrawn")

RECIPE_BATCH = str(read_configs([find_config("detection/demo.yaml")])["data"]["init_args"]["batch_size"])
TASKS = ("classification", "detection", "medical", "segmentation", "video")


@pytest.mark.parametrize("task", TASKS)
def test_a_data_set_is_trained_on_with_short_flags(task, request, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data = request.getfixturevalue(f"{task}_samples")
    call = [str(data / "train.csv"), str(data / "val.csv")] if task == "medical" else [str(data)]
    networks = {"medical": ("resnet10_3d", "20"), "video": ("tsn:timm:test_resnet", "24")}
    backbone, size = networks.get(task, ("timm:test_resnet", "32"))
    torch.save(create_backbone(backbone, in_channels=1 if task == "medical" else 3).state_dict(), "weights.pth")
    flags = ["--backbone", backbone, "--weights", "weights.pth", "--size", size, "--batch", "2", "--epochs", "1"]
    flags += ["--lr", "0.001", "--device", "cpu", "--workers", "0", "--seed", "3", "--name", "trial"]
    assert main.main(["fit", *call, *flags, "--trainer.fast_dev_run", "1"]) == 0
    output = capsys.readouterr().out
    for flag in SHORT_FLAGS:
        # what sets itself is not printed
        assert f"{flag.name} " in output or flag.name in ("--log", "--teacher"), flag.name


def test_a_bug_keeps_its_traceback(monkeypatch, tmp_path):
    def train(args):
        np.reshape(np.zeros(3), (2, 2))

    monkeypatch.setattr(fit, "_train", train)
    monkeypatch.setattr(early_reading, "refuse_broken", lambda *given: None)
    with pytest.raises(ValueError, match="reshape"):
        fit.main(["fit", "-c", "detection/demo.yaml", "--data.root", str(tmp_path)])


def test_a_misplaced_flag_is_answered_with_its_place(answer):
    assert "did you mean --backbone?" in answer("-c", "detection/demo.yaml", "--model.backbone", "resnet18")


def test_runs_are_numbered_and_the_last_one_is_resumed(words, classification_samples, tmp_path):
    name = classification_samples.name
    (tmp_path / "runs" / name / "checkpoints").mkdir(parents=True)
    assert words(classification_samples)["trainer.default_root_dir"] == f"runs/{name}_2"
    resumed = words(classification_samples, "--ckpt_path", "last")
    assert resumed["trainer.default_root_dir"] == f"runs/{name}"
    assert words(classification_samples, "--name", "mine")["trainer.default_root_dir"] == "runs/mine"


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("--size 96", {"data.resize.short": "[96]", "data.resize.longest": "160"}),
        ("--size 96x128", {"data.resize.short": "[96]", "data.resize.longest": "128"}),
        ("--device 0,1", {"trainer.accelerator": "gpu", "trainer.devices": "[0, 1]"}),
        ("--device cpu", {"trainer.accelerator": "cpu"}),
        ("--weights none", {"model.network.weights": "null"}),
        ("--workers auto", {"data.num_workers": "null"}),
        ("--batch=7", {"data.batch_size": "7"}),
        ("--lr 0.1", {"model.optimizer.lr": "0.1"}),
        ("--lr auto", {"trainer.callbacks+": AUTO_RATE, "trainer.callbacks.batch_size": RECIPE_BATCH}),
        ("--seed 5", {"seed_everything": "5"}),
    ],
)
def test_short_flags_of_a_configuration(flags, expected, words, monkeypatch, capsys):
    monkeypatch.setattr("vertebra.tools.arguments.early_checks._may_have_gpu", lambda: True)
    long = words("-c", "detection/demo.yaml", *flags.split())
    assert {name: long[name] for name in expected} == expected
    first = capsys.readouterr().out.splitlines()[0]
    assert all(f"--{name} {shlex.quote(value)}" in first for name, value in expected.items())


def test_the_size_of_volumes_has_three_sides(words):
    assert words("-c", "medical/demo.yaml", "--size", "48")["data.resample.size"] == "[48, 48, 48]"


SLIPS = {
    "--epohs 3": "unknown flag --epohs; did you mean --epochs",
    "--data.batchsize 3": "did you mean --data.batch_size",
    "--data.train.anotations x": "did you mean --data.train.annotations",
    "--trainer.max_epoch 3": "did you mean --trainer.max_epochs",
    "--model.network.bacbone x": "did you mean --model.network.backbone",
    "--modl.network x": "did you mean --model",
    "--checkpoint.monitr x": "did you mean --checkpoint.monitor",
    "--epochs many": "--epochs is 'many'; expected a whole number of 1 or more",
    "--lr 0": "--lr is '0'; expected a number above 0",
    "--size big": "--size is 'big'; expected a side in pixels",
    "--batch 0": "--batch is '0'; expected a whole number",
    "--device gpus": "--device is 'gpus'; expected cpu, gpu",
    "--epochs --lr 1": "--epochs has no value; expected --epochs N",
    "--data.root nowhere": "nowhere does not exist (--data.root)",
    "--ckpt_path gone.ckpt": "gone.ckpt does not exist (--ckpt_path)",
    "--weights gone.pth": "gone.pth does not exist (--model.network.weights)",
    "--device gpu": "no GPU was found on this machine",
    "--trainer.accelerator cuda": "no GPU was found on this machine",
    "--learning-rate 1": "unknown flag --learning-rate; did you mean --lr?",
    "--img_size 64": "did you mean --size?",
    "--wandb": "did you mean --log wandb?",
    "--optimizer Adam": "did you mean --model.optimizer?",
    "--batch huge": "expected a whole number of 1 or more, or auto.",
    "--name=": "--name is ''; expected a name",
    "--weights imagenet": "is 'imagenet', which does not exist; expected a file, pretrained, none, or a name",
    "--trainer.logger wandb": "takes the name of a class; give --log wandb instead",
    "--trainer.logger lightning.pytorch.loggers.CometLogger": "needs the package comet_ml, which is not installed",
    "--trainer.logger.class_path NeptuneLogger": "needs the package neptune, which is not installed",
    "--log tensorbord": "expected one or more of tensorboard, wandb, mlflow",
}


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_is_answered_in_one_line(slip, answer, monkeypatch):
    monkeypatch.setattr("vertebra.tools.arguments.early_checks._may_have_gpu", lambda: False)
    monkeypatch.setattr("vertebra.tools.arguments.tracker_names._is_installed", lambda package: False)
    text = answer("-c", "detection/demo.yaml", *slip.split())
    assert SLIPS[slip] in text
    assert text.count("\n") == 1


def test_every_flag_of_every_recipe_is_known(words):
    known = ("--data.num_workers 2", "--model.optimizer.lr 1", "--trainer.callbacks+ EarlyStopping")
    for recipes in fit.OWN_DATA.values():
        for name in (recipes.finetune, recipes.scratch):
            words("-c", name, *" ".join(known).split(), "--model.layer_decay", "0.5", "--data.balance", "1")


@pytest.mark.parametrize(
    ("flags", "recipe", "weights"),
    [
        ("", "finetune", None),
        ("--weights none", "scratch", "null"),
        ("--model.network.weights null", "scratch", "null"),
        ("--weights own.pth", "finetune", "own.pth"),
        ("--weights run", "finetune", "run/checkpoints/best.ckpt"),
        ("--backbone resnet50", "finetune", None),
        ("--backbone resnet18", "finetune", "pretrained"),
        ("--backbone resnet18 --weights own.pth", "finetune", "own.pth"),
        ("--backbone resnet18 --weights none", "scratch", "null"),
        ("--model.network RetinaNet", "finetune", "pretrained"),
        ("--model.network FasterRCNN", "finetune", None),
    ],
)
def test_initial_weights_choose_the_recipe(flags, recipe, weights, words, detection_samples, tmp_path):
    (tmp_path / "own.pth").touch()
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    (tmp_path / "run/checkpoints/best.ckpt").touch()
    long = words(detection_samples, *flags.split())
    assert Path(long["-c"]).name == f"{recipe}.yaml"
    assert long.get("model.network.weights") == weights


def test_volumes_have_no_published_weights(words, medical_samples):
    splits = medical_samples / "train.csv", medical_samples / "val.csv"
    assert Path(words(*splits)["-c"]).name == "scratch_volumes.yaml"
    assert Path(words(*splits, "--weights", __file__)["-c"]).name == "finetune_volumes.yaml"


# torch and Lightning were imported before these were found
SLOW_ONCE = [
    "fit . --backbone resnet5",
    "fit . --trainer.max_epochs many",
    "fit -c detection/demo.yaml --data.root . --backbone resnet5",
    "fit -c detection/demo.yaml --data.root . --model.network FasterRCN",
    "fit -c detection/demo.yaml",
]


@pytest.mark.parametrize(
    "words", ["fit --help", "fit", "fit nowhere", "fit -c nowhere.yaml", "fit --epohs 3 -c x", "test", *SLOW_ONCE]
)
def test_answers_are_fast_and_on_one_screen(words, tmp_path):
    # CPU time, which other jobs of the machine do not change
    code = "import sys, time; began = time.process_time(); from vertebra.tools.main import main; main(sys.argv[1:])\n"
    code += "took = time.process_time() - began; heavy = {'torch', 'lightning', 'cv2'} & set(sys.modules)\n"
    code += "print(f'{took:.3f}', *heavy, file=sys.stderr)"
    run = subprocess.run([sys.executable, "-c", code, *words.split()], capture_output=True, text=True, cwd=tmp_path)
    took, *heavy = run.stderr.splitlines()[-1].split()
    assert float(took) < 1
    assert not heavy
    assert len(run.stdout.splitlines()) < 48
    assert all(len(line) <= 120 for line in run.stdout.splitlines())
    assert "Traceback" not in run.stderr


def test_an_unknown_task_is_answered_before_the_data_set_is_read(answer, tmp_path):
    assert "--task is 'detectoin'; did you mean detection?" in answer(".", "--task", "detectoin")
    assert "--task is 'boxes'; expected one of classification, detection, instances" in answer(".", "--task", "boxes")


@pytest.mark.parametrize("data", [{"root": ".", "test": "test"}, {"root": ".", "test": None}])
def test_a_run_without_a_test_split_is_answered_with_what_to_give(data, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    (tmp_path / "run/checkpoints/best.ckpt").touch()
    (tmp_path / "run/config.yaml").write_text(json.dumps({"data": {"init_args": data}}))
    assert fit.main(["test", "run"]) == 1
    assert "the data set of run has no test split; give one: vertebra test run DATA." in capsys.readouterr().err


def test_all_flags_are_listed_without_a_usage_that_lists_them_as_well(capsys):
    with pytest.raises(SystemExit):
        fit.main(["fit", "--help-all"])
    assert capsys.readouterr().out.startswith("usage: vertebra fit -c CONFIG [--FLAG VALUE ...]\n\n")


def test_train_is_answered_by_fit(capsys):
    assert main.main(["train", "photos"]) == 2
    assert "did you mean vertebra fit DATA" in capsys.readouterr().err

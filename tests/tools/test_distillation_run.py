"""Runs that learn from a teacher: every task, exact resumption, evaluation without the teacher, and what is refused."""

import json
import os
import re
import shutil
import signal

import pytest
import torch
import yaml
from lightning.pytorch import Callback

import vertebra
from vertebra.tools import main, train

pytestmark = pytest.mark.usefixtures("undrawn")

SLOW = [pytest.param(task, marks=pytest.mark.slow) for task in ("detection", "segmentation", "video", "medical")]


@pytest.mark.parametrize("task", ["classification", *SLOW])
def test_a_run_learns_from_a_teacher_and_needs_it_no_more(task, trained, tmp_path, capsys):
    teacher, files = trained(task)
    moved = tmp_path / "teacher"
    shutil.copytree(teacher, moved)
    config, run = str(teacher.parent / "tiny.yaml"), tmp_path / "student"
    root = yaml.safe_load((teacher / "config.yaml").read_text())["data"]["init_args"]["root"]
    flags = ["--data.root", root, "--trainer.default_root_dir", str(run), "--trainer.limit_train_batches", "4"]
    # a file, since a path of one is refused elsewhere in the configuration of a checkpoint
    flags += ["--teacher", str(moved / "checkpoints/best.ckpt"), "--data.batch_size", "2"]
    assert main.main(["fit", "-c", config, *flags]) == 0
    assert f"--model.teacher {moved}" in capsys.readouterr().out
    described = json.loads((run / "run.json").read_text())["settings"]["teacher"]
    share = re.fullmatch(rf"{moved}/checkpoints/best.ckpt, (\d+)% of a training step", described)
    assert 0 < int(share[1]) < 100
    content = torch.load(run / "checkpoints/best.ckpt", weights_only=True)
    plain = torch.load(teacher / "checkpoints/best.ckpt", weights_only=True)
    assert content["state_dict"].keys() == plain["state_dict"].keys()
    shutil.rmtree(moved)
    assert vertebra.load(run).predict(files)
    assert main.main(["validate", str(run)]) == 0


class Stop(Callback):
    """Sends SIGINT in a given step."""

    step: int | None = None

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == Stop.step:
            os.kill(os.getpid(), signal.SIGINT)


def test_a_resumed_run_equals_an_uninterrupted_one_to_the_bit(trained, classification_samples, tmp_path, monkeypatch):
    teacher, _ = trained("classification")
    flags = ["-c", str(teacher.parent / "tiny.yaml"), "--data.root", str(classification_samples)]
    flags += ["--model.teacher", str(teacher), "--model.distillation", "{temperature: 2.0}"]
    flags += ["--trainer.max_epochs", "2", "--trainer.callbacks+", "vertebra.tasks.training.averaging.EMA"]
    instantiate = train.VertebraCLI.instantiate_trainer

    def with_stop(self, **kwargs):
        trainer = instantiate(self, **kwargs)
        trainer.callbacks.insert(1, Stop())
        return trainer

    monkeypatch.setattr(train.VertebraCLI, "instantiate_trainer", with_stop)

    def fit(name: str, *more: str) -> int:
        return train.main(["fit", *flags, "--trainer.default_root_dir", str(tmp_path / name), *more])

    def weights(name: str) -> dict[str, torch.Tensor]:
        content = torch.load(tmp_path / name / "checkpoints/last.ckpt", weights_only=True)
        return content["state_dict"] | {f"current.{key}": x for key, x in content["current_model_state"].items()}

    assert fit("whole") == 0
    monkeypatch.setattr(Stop, "step", 1)
    assert fit("parts") == 130
    monkeypatch.setattr(Stop, "step", None)
    assert fit("parts", "--ckpt_path", "last") == 0
    whole, parts = weights("whole"), weights("parts")
    assert whole.keys() == parts.keys()
    assert [key for key, value in whole.items() if not torch.equal(value, parts[key])] == []
    # and without the teacher it is another one
    flags[flags.index("--model.teacher") : flags.index("--trainer.max_epochs")] = []
    assert fit("alone") == 0
    assert not torch.equal(weights("alone")["network.head.fc.weight"], whole["network.head.fc.weight"])


def message(flags: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main.main(["fit", *flags]) == 1
    error = capsys.readouterr().err
    return next(line for line in error.splitlines() if line.startswith("vertebra: "))


def test_teachers_that_do_not_fit_are_one_sentence(trained, classification_samples, tmp_path, capsys):
    teacher, _ = trained("classification")
    start = ["-c", str(teacher.parent / "tiny.yaml"), "--data.root", str(classification_samples)]
    start += ["--trainer.default_root_dir", str(tmp_path / "run")]
    detector, _ = trained("detection")
    other = f"{detector}: the teacher is a DetectionModule and the student a ClassificationModule"
    assert other in message([*start, "--teacher", str(detector)], capsys)
    pixels = [*start, "--teacher", str(teacher), "--data.pixels.white", "1000"]
    assert "trained with data.pixels" in message(pixels, capsys)
    assert "nowhere does not exist" in message([*start, "--teacher", str(tmp_path / "nowhere")], capsys)
    (file := tmp_path / "model.onnx").touch()
    assert "exported file" in message([*start, "--teacher", str(file)], capsys)
    alone = [*start, "--model.distillation", "{temperature: 2.0}"]
    assert "distillation is given without a teacher" in message(alone, capsys)
    assert not (tmp_path / "run/checkpoints").exists()


def test_another_size_of_the_teachers_images_is_said(trained, classification_samples, tmp_path, caplog):
    teacher, _ = trained("classification")
    flags = ["-c", str(teacher.parent / "tiny.yaml"), "--data.root", str(classification_samples)]
    flags += ["--trainer.default_root_dir", str(tmp_path / "run"), "--teacher", str(teacher)]
    assert main.main(["fit", *flags, "--size", "32", "--trainer.fast_dev_run", "true"]) == 0
    assert re.search(r"trained with data.resize .*24, 24.*here it gets .*32, 32", caplog.text)

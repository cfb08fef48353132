"""Commands given untrusted checkpoints and weights: nothing is executed, and one line names the file."""

import errno
import os
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from vertebra.tools import predict, train

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture
def project(content, tmp_path, classification_samples, monkeypatch):
    """Folder with a configuration, a checkpoint of it, and images to predict on."""
    monkeypatch.chdir(tmp_path)
    Path("run.yaml").write_text(content()["config"].replace("ROOT", str(classification_samples)))
    torch.save(content(), "good.ckpt")
    Path("photos").mkdir()
    for image in sorted((classification_samples / "val").glob("*/*.png"))[:2]:
        shutil.copy(image, "photos")
    return tmp_path


def failed(command, capsys) -> str:
    """Run a command that must fail, and return its one-line error."""
    capsys.readouterr()
    main = predict.main if command[0] == "predict" else train.main
    assert main(command[1:] if command[0] == "predict" else command) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("vertebra:")]
    assert len(lines) == 1
    return lines[0]


def test_a_malicious_configuration_executes_nothing(project, capsys, content):
    spec = {"class_path": "os.system", "init_args": {"command": "touch sprung"}}
    refused = {("model", "network"): spec, ("model", "views"): spec, ("data", "resize"): "os.system"}
    dropped = {("model", "optimizer"): spec, ("data", "augment"): [spec], ("model", "mixing"): "os.system"}
    for (part, name), value in {**refused, **dropped}.items():
        config = yaml.safe_load(content()["config"])
        config[part]["init_args"][name] = value
        torch.save(content(config=yaml.safe_dump(config)), "evil.ckpt")
        if (part, name) in refused:
            text = failed(["predict", "evil.ckpt", "photos"], capsys)
            assert f"evil.ckpt: its configuration has 'os.system' as {part}.init_args.{name}" in text
        else:
            assert predict.main(["evil.ckpt", "photos"]) == 0
        assert not Path("sprung").exists()


def test_foreign_classes_need_the_trust_flag(project, capsys, monkeypatch, content):
    Path("mine_to_trust.py").write_text(
        "from vertebra.tasks.classification import ClassificationModule\nclass Mine(ClassificationModule):\n    pass\n"
    )
    monkeypatch.syspath_prepend(str(project))
    config = content()["config"].replace("vertebra.tasks.classification.ClassificationModule", "mine_to_trust.Mine")
    torch.save(content(config=config), "mine.ckpt")
    text = failed(["predict", "mine.ckpt", "photos"], capsys)
    assert "'mine_to_trust.Mine' as model.class_path" in text
    assert "add --trust" in text
    assert predict.main(["mine.ckpt", "photos", "--trust"]) == 0


def test_predict_does_not_open_the_initial_weights(project, content):
    config = yaml.safe_load(content()["config"])
    config["model"]["init_args"]["network"]["init_args"]["weights"] = "/no/such/file.pth"
    torch.save(content(config=yaml.safe_dump(config)), "a.ckpt")
    assert predict.main(["a.ckpt", "photos"]) == 0


def test_hyperparameters_of_a_checkpoint_are_ignored(project, content):
    """Lightning would instantiate the class named in a checkpoint's hyperparameters."""
    evil = {"_class_path": "os.system", "command": "touch sprung"}
    torch.save(content(hyper_parameters=evil), "evil.ckpt")
    assert train.main(["validate", "-c", "run.yaml", "--ckpt_path", "evil.ckpt"]) == 0
    assert predict.main(["evil.ckpt", "photos"]) == 0
    assert not Path("sprung").exists()


@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict"])
def test_every_command_names_the_invalid_checkpoint(command, project, files, capsys):
    for name in ("system_in_zip", "cut", "folder", "numbers_for_tensors"):
        file = str(files[name])
        args = [file, "photos"] if command == "predict" else ["-c", "run.yaml", "--ckpt_path", file]
        if command == "test":
            args += ["--data.test", "val"]
        assert file in failed([command, *args], capsys)
    assert not (files["cut"].parent / "sprung").exists()


def test_a_checkpoint_of_another_network_or_other_settings_is_refused(project, capsys, content):
    args = ["-c", "run.yaml", "--model.network.backbone", "resnet32", "--ckpt_path", "good.ckpt"]
    text = failed(["validate", *args], capsys)
    assert "good.ckpt" in text
    assert "missing from the checkpoint: network.backbone.layer1.3.conv1.weight" in text
    assert "--model.network.weights" in text
    assert "good.ckpt: holds a network without its training state (loops)" in failed(
        ["fit", "-c", "run.yaml", "--ckpt_path", "good.ckpt"], capsys
    )
    torch.save(content(loops={}), "other.ckpt")
    text = failed(["fit", "-c", "run.yaml", "--ckpt_path", "other.ckpt"], capsys)
    assert "other.ckpt: cannot be restored into this run (KeyError: 'fit_loop')" in text


def test_loading_weights_of_other_classes_reports_the_new_head(project, capsys, content):
    torch.save(content(classes=("a", "b")), "other.ckpt")
    flags = ["--model.network.weights", "other.ckpt", "--trainer.max_steps", "1"]
    assert train.main(["fit", "-c", "run.yaml", *flags]) == 0
    assert "other.ckpt (classes a, b): 114 of 116 tensors loaded; new: head.fc" in capsys.readouterr().err


def test_invalid_weights_are_named(project, files, capsys):
    for name in ("system", "cut", "sparse", "absent"):
        flags = ["--model.network.weights", str(files[name])]
        assert str(files[name]) in failed(["fit", "-c", "run.yaml", *flags], capsys)


def test_a_file_in_place_of_the_run_folder_is_kept(project, capsys):
    Path("taken").write_text("user data")
    for folder in ("taken", "taken/deeper"):
        text = failed(["fit", "-c", "run.yaml", "--trainer.default_root_dir", folder], capsys)
        assert "taken: " in text
        assert "a folder is needed there" in text
        assert "taken: " in failed(["predict", "good.ckpt", "photos", "--output", folder], capsys)
    assert Path("taken").read_text() == "user data"


@pytest.mark.parametrize(
    ("number", "remedy"), [(errno.ENOSPC, "free some space"), (errno.EROFS, "elsewhere"), (errno.EACCES, "who may")]
)
def test_operating_system_errors_are_one_line_with_a_remedy(number, remedy, project, capsys, monkeypatch):
    def refuse(self, *args, **kwargs):
        raise OSError(number, os.strerror(number), str(self))

    monkeypatch.setattr(Path, "write_text", refuse)  # writes the configuration, the first file of a run
    text = failed(["fit", "-c", "run.yaml"], capsys)
    assert f"{os.strerror(number)}; " in text
    assert remedy in text
    monkeypatch.setattr("tempfile.TemporaryFile", lambda dir: refuse(dir))
    assert remedy in failed(["fit", "-c", "run.yaml", "--trainer.default_root_dir", "other"], capsys)
    assert not Path("other").exists()

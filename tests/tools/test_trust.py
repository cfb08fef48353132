"""Untrusted checkpoints and weights: nothing in them is executed, and every defect is a one-line error."""

import errno
import io
import os
import pickle
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
import yaml

from vertebra.backbones.weight_files import read_state_dict
from vertebra.tasks.classification import ClassificationModule, image_classifier
from vertebra.tools import predict, train
from vertebra.tools.samples import classification as samples
from vertebra.tools.trained.checkpoint_file import read_checkpoint

RUN = """
model:
  class_path: vertebra.tasks.classification.ClassificationModule
  init_args:
    network:
      class_path: vertebra.tasks.classification.ImageClassifier
      init_args: {backbone: resnet20}
data:
  class_path: vertebra.tasks.classification.ClassificationData
  init_args:
    root: ROOT
    resize: {size: [24, 24], crop: 1.0}
    batch_size: 10
    num_workers: 0
trainer:
  accelerator: cpu
  precision: 32-true
  max_epochs: 1
  enable_progress_bar: false
  enable_model_summary: false
  logger: false
"""


class Trap:
    """Calls a function when it is unpickled."""

    def __init__(self, call, *args):
        self.call = call, args

    def __reduce__(self):
        return self.call


def content(classes=samples.CLASSES, **more):
    """Return the content of a checkpoint of RUN before its first step."""
    module = ClassificationModule(image_classifier("resnet20", len(classes)), classes)
    return {
        "epoch": 0,
        "global_step": 0,
        "pytorch-lightning_version": "2.6.0",
        "state_dict": module.state_dict(),
        "callbacks": {},
        "optimizer_states": [{"state": {}, "param_groups": []}],
        "lr_schedulers": [{}],
        "class_names": list(classes),
        "config": RUN,
    } | more


def full(**more):
    """Return the content of a checkpoint with all entries that resuming requires."""
    return content(loops={}, **more)


def legacy(value) -> bytes:
    torch.save(value, out := io.BytesIO(), _use_new_zipfile_serialization=False)
    return out.getvalue()


def saved(value) -> bytes:
    torch.save(value, out := io.BytesIO())
    return out.getvalue()


def without(*keys):
    return {key: value for key, value in full().items() if key not in keys}


def renamed_global(data: bytes, module: bytes) -> bytes:
    """Return a checkpoint whose pickle names a function of another module to rebuild its tensors."""
    source, out = zipfile.ZipFile(io.BytesIO(data)), io.BytesIO()
    with zipfile.ZipFile(out, "w") as target:
        for name in source.namelist():
            target.writestr(name, source.read(name).replace(b"ctorch._utils\n", b"c" + module + b"\n"))
    return out.getvalue()


def broken(folder: Path) -> dict[str, Path]:
    """Write invalid and malicious checkpoints; any code they execute creates `sprung` in the folder."""
    sprung = str(folder / "sprung")
    touch = f"touch {sprung}"
    whole = saved(full())
    state = full()["state_dict"]
    first = next(iter(state))
    files = {
        "system": pickle.dumps(Trap(os.system, touch)),
        "system_in_zip": saved(full(more=Trap(os.system, touch))),
        "open": saved(Trap(open, sprung, "w")),
        "eval": pickle.dumps(Trap(eval, f"open({sprung!r}, 'w')")),
        "getattr": saved({"state_dict": Trap(getattr, "a", "upper"), "class_names": ["a"]}),
        "legacy_system": legacy(full(more=Trap(os.system, touch))),
        "whole_module": saved(image_classifier("resnet20", 2)),
        "other_global": renamed_global(whole, b"posix"),
        "empty": b"",
        "zero_bytes": bytes(4096),
        "text": b"not a checkpoint\n",
        "html": b"<!DOCTYPE html><html>404</html>" * 50,
        "cut": whole[: len(whole) // 2],
        "cut_at_the_end": whole[:-200],
        "cut_legacy": legacy(full())[:5000],
        "flipped": whole[:2000] + bytes(64) + whole[2064:],
        "one_bit": whole[: len(whole) // 2] + bytes([whole[len(whole) // 2] ^ 1]) + whole[len(whole) // 2 + 1 :],
        "zip_of_nothing": b"PK\x05\x06" + bytes(18),
        "a_number": saved(3),
        "a_list": saved([1, 2]),
        "a_tensor": saved(torch.ones(3)),
        "weights_alone": saved(state),
        "no_state": saved(without("state_dict")),
        "no_classes": saved(without("class_names")),
        "classes_of_numbers": saved(full(class_names=[1, 2])),
        "no_version": saved(without("pytorch-lightning_version")),
        "odd_version": saved(full(**{"pytorch-lightning_version": "new"})),
        "numbers_for_tensors": saved(full(state_dict=dict.fromkeys(state, 3))),
        "state_is_a_list": saved(full(state_dict=list(state.values()))),
        "keys_are_numbers": saved(full(state_dict=dict(enumerate(state.values())))),
        "claims_more": saved(full(state_dict=state | {first: torch.ones(1).expand(10**6, 10**6)})),
        "sparse": saved(full(state_dict=state | {first: torch.ones(3, 3).to_sparse()})),
        "no_values": saved(full(state_dict={key: value.to("meta") for key, value in state.items()})),
        "epoch_is_text": saved(full(epoch="first")),
    }
    nested: list = ["a"]
    for _ in range(60):
        nested = [nested] * 9  # 9 ** 60 strings in a few bytes
    files |= {
        "endless_classes": saved(full(class_names=nested)),
        "endless_key": saved(full(state_dict={(1, 2): torch.ones(1)})),
        "lines_for_a_key": saved(full(state_dict={"a\nb": torch.ones(1)})),
    }
    paths = {}
    for name, data in files.items():
        paths[name] = folder / f"{name}.ckpt"
        paths[name].write_bytes(data)
    paths["folder"] = folder / "folder.ckpt"
    paths["folder"].mkdir()
    paths["absent"] = folder / "absent.ckpt"
    return paths


NOT_RESUMABLE = {
    "no_optimizer": lambda: without("optimizer_states", "lr_schedulers"),
    "callback_is_text": lambda: full(callbacks={"a": "b"}),
    "deletes_elsewhere": lambda: full(
        callbacks={
            "ModelCheckpoint": {"dirpath": "/r/c", "kth_best_model_path": "/r/c/../../home", "best_k_models": {}}
        },
    ),
    "deletes_anywhere": lambda: full(callbacks={"ModelCheckpoint": {"last_model_path": "/home/x"}}),
    "deletes_a_url": lambda: full(
        callbacks={"ModelCheckpoint": {"dirpath": "/r/c", "best_k_models": {"simplecache::file:///r/c/x": 1.0}}},
    ),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return broken(tmp_path_factory.mktemp("broken"))


def test_every_invalid_checkpoint_is_a_one_line_error_and_executes_nothing(files):
    for name, path in files.items():
        with pytest.raises((ValueError, FileNotFoundError)) as caught:
            read_checkpoint(path)
        text = str(caught.value)
        assert path.name in text, name
        assert "\n" not in text, name
        assert text.endswith("."), name
        assert "weights_only" not in text, name  # torch's advice, which would execute the file
        with pytest.raises((ValueError, FileNotFoundError), match=path.name):
            read_checkpoint(path, training=True)
        assert not (path.parent / "sprung").exists(), name


def test_invalid_files_given_as_weights_are_one_line_errors(files):
    usable_weights = {
        *("weights_alone", "no_classes", "classes_of_numbers", "endless_classes", "no_version", "odd_version"),
        "epoch_is_text",
    }
    for name, path in files.items():
        if name in usable_weights:
            assert read_state_dict(path)
            continue
        with pytest.raises((ValueError, FileNotFoundError), match=path.name) as caught:
            read_state_dict(path)
        assert "\n" not in str(caught.value), name
        assert not (path.parent / "sprung").exists(), name


@pytest.mark.parametrize("name", NOT_RESUMABLE)
def test_checkpoints_that_cannot_be_resumed_are_refused_for_training_only(name, tmp_path):
    torch.save(NOT_RESUMABLE[name](), tmp_path / "a.ckpt")
    assert read_checkpoint(tmp_path / "a.ckpt")["epoch"] == 0
    with pytest.raises(ValueError, match=r"a\.ckpt: .*--model\.network\.weights|a\.ckpt: .*callback's state"):
        read_checkpoint(tmp_path / "a.ckpt", training=True)


@pytest.mark.parametrize("data", [b"", b"\xff" * 8 + b"{}", (20).to_bytes(8, "little") + b'{"a": {"dtype": "F3"'])
def test_safetensors_with_an_invalid_header_are_refused(data, tmp_path):
    (tmp_path / "a.safetensors").write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.safetensors: cannot be read.*again\."):
        read_state_dict(tmp_path / "a.safetensors")


def test_a_file_without_read_permission_is_a_user_error(tmp_path, monkeypatch):
    path = tmp_path / "a.ckpt"
    path.write_bytes(saved(content()))

    def denied(self, *args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", denied)  # not chmod: root may read everything
    with pytest.raises(ValueError, match=r"a\.ckpt: cannot be read \(Permission denied\)"):
        read_checkpoint(path)


@pytest.fixture
def project(tmp_path, classification_samples, monkeypatch):
    """Folder with a configuration, a checkpoint of it, and images to predict on."""
    monkeypatch.chdir(tmp_path)
    Path("run.yaml").write_text(RUN.replace("ROOT", str(classification_samples)))
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


def test_a_malicious_configuration_executes_nothing(project, capsys):
    spec = {"class_path": "os.system", "init_args": {"command": "touch sprung"}}
    refused = {("model", "network"): spec, ("model", "views"): spec, ("data", "resize"): "os.system"}
    dropped = {("model", "optimizer"): spec, ("data", "augment"): [spec], ("model", "mixing"): "os.system"}
    for (part, name), value in {**refused, **dropped}.items():
        config = yaml.safe_load(RUN)
        config[part]["init_args"][name] = value
        torch.save(content(config=yaml.safe_dump(config)), "evil.ckpt")
        if (part, name) in refused:
            text = failed(["predict", "evil.ckpt", "photos"], capsys)
            assert f"evil.ckpt: its configuration has 'os.system' as {part}.init_args.{name}" in text
        else:
            assert predict.main(["evil.ckpt", "photos"]) == 0
        assert not Path("sprung").exists()


def test_foreign_classes_need_the_trust_flag(project, capsys, monkeypatch):
    Path("mine_to_trust.py").write_text(
        "from vertebra.tasks.classification import ClassificationModule\nclass Mine(ClassificationModule):\n    pass\n"
    )
    monkeypatch.syspath_prepend(str(project))
    config = RUN.replace("vertebra.tasks.classification.ClassificationModule", "mine_to_trust.Mine")
    torch.save(content(config=config), "mine.ckpt")
    text = failed(["predict", "mine.ckpt", "photos"], capsys)
    assert "'mine_to_trust.Mine' as model.class_path" in text
    assert "add --trust" in text
    assert predict.main(["mine.ckpt", "photos", "--trust"]) == 0


def test_predict_does_not_open_the_initial_weights(project):
    config = yaml.safe_load(RUN)
    config["model"]["init_args"]["network"]["init_args"]["weights"] = "/no/such/file.pth"
    torch.save(content(config=yaml.safe_dump(config)), "a.ckpt")
    assert predict.main(["a.ckpt", "photos"]) == 0


def test_hyperparameters_of_a_checkpoint_are_ignored(project):
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


def test_a_checkpoint_of_another_network_or_other_settings_is_refused(project, capsys):
    args = ["-c", "run.yaml", "--model.network.backbone", "resnet32", "--ckpt_path", "good.ckpt"]
    text = failed(["validate", *args], capsys)
    assert "good.ckpt" in text
    assert "missing from the checkpoint: network.backbone.layer1.3.conv1.weight" in text
    assert "--model.network.weights" in text
    assert "good.ckpt: holds a network without its training state (loops)" in failed(
        ["fit", "-c", "run.yaml", "--ckpt_path", "good.ckpt"], capsys
    )
    torch.save(full(), "other.ckpt")
    text = failed(["fit", "-c", "run.yaml", "--ckpt_path", "other.ckpt"], capsys)
    assert "other.ckpt: cannot be restored into this run (KeyError: 'fit_loop')" in text


def test_loading_weights_of_other_classes_reports_the_new_head(project, capsys):
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

"""Untrusted checkpoints and weights as files: nothing in them is executed, and every defect is a one-line error."""

import errno
from pathlib import Path

import pytest
import torch

from vertebra.backbones.weight_files import read_state_dict
from vertebra.tools.trained.checkpoint_file import read_checkpoint

MODEL_CHECKPOINT = {"dirpath": "/r/c", "best_k_models": {}}
# entries in place of those of a checkpoint that can be resumed; None for none
NOT_RESUMABLE = {
    "no_optimizer": {"optimizer_states": None, "lr_schedulers": None},
    "callback_is_text": {"callbacks": {"a": "b"}},
    "deletes_elsewhere": {
        "callbacks": {"ModelCheckpoint": MODEL_CHECKPOINT | {"kth_best_model_path": "/r/c/../../home"}}
    },
    "deletes_anywhere": {"callbacks": {"ModelCheckpoint": {"last_model_path": "/home/x"}}},
    "deletes_a_url": {
        "callbacks": {
            "ModelCheckpoint": MODEL_CHECKPOINT | {"best_k_models": {"simplecache::file:///r/c/x": 1.0}},
        }
    },
}


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
def test_checkpoints_that_cannot_be_resumed_are_refused_for_training_only(name, content, tmp_path):
    entries = content(loops={}, **NOT_RESUMABLE[name])
    torch.save({key: value for key, value in entries.items() if value is not None}, tmp_path / "a.ckpt")
    assert read_checkpoint(tmp_path / "a.ckpt")["epoch"] == 0
    with pytest.raises(ValueError, match=r"a\.ckpt: .*--model\.network\.weights|a\.ckpt: .*callback's state"):
        read_checkpoint(tmp_path / "a.ckpt", training=True)


@pytest.mark.parametrize("data", [b"", b"\xff" * 8 + b"{}", (20).to_bytes(8, "little") + b'{"a": {"dtype": "F3"'])
def test_safetensors_with_an_invalid_header_are_refused(data, tmp_path):
    (tmp_path / "a.safetensors").write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.safetensors: cannot be read.*again\."):
        read_state_dict(tmp_path / "a.safetensors")


def test_a_file_without_read_permission_is_a_user_error(content, tmp_path, monkeypatch):
    path = tmp_path / "a.ckpt"
    torch.save(content(), path)

    def denied(self, *args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", denied)  # not chmod: root may read everything
    with pytest.raises(ValueError, match=r"a\.ckpt: cannot be read \(Permission denied\)"):
        read_checkpoint(path)

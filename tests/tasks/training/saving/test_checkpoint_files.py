import os
import threading
import time

import pytest
import torch

from vertebra.tasks.training.saving.checkpoint_files import AtomicCheckpointIO, remove_partial_files, write_checkpoint


def value(path):
    return torch.load(path, weights_only=True)["value"]


def test_a_checkpoint_is_replaced_atomically_and_the_previous_one_kept(tmp_path, monkeypatch):
    path, replace = tmp_path / "run/last.ckpt", os.replace
    write_checkpoint({"value": 1}, path)

    def watched(source, target):
        assert value(path) in (1, 2)
        replace(source, target)
        assert value(path) in (1, 2)

    monkeypatch.setattr(os, "replace", watched)
    write_checkpoint({"value": 2}, path)
    assert value(path) == 2
    assert value(path.with_name("previous.ckpt")) == 1
    assert {file.name for file in path.parent.iterdir()} == {"last.ckpt", "previous.ckpt"}


def half(content, file):
    file.write(b"half")
    raise OSError(28, "No space left on device")


def test_a_failed_write_leaves_the_previous_file_only(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    write_checkpoint({"value": 1}, path)
    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(
        ValueError, match=r"last\.ckpt: .*No space left on device.*previous one is intact.* resume with"
    ):
        write_checkpoint({"value": 2}, path)
    assert value(path) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_folder_that_cannot_be_created_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="could not be written") as error:
        write_checkpoint({"value": 1}, tmp_path / "file" / "last.ckpt")
    assert "previous" not in str(error.value)
    assert "resume" not in str(error.value)  # there is no checkpoint


def test_partial_files_are_no_checkpoints_and_are_removed(tmp_path):
    for name in ("last.ckpt.part", "best.ckpt.part", "last.ckpt"):
        (tmp_path / name).touch()
    assert [file.name for file in tmp_path.glob("*.ckpt")] == ["last.ckpt"]
    remove_partial_files(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


def test_training_continues_while_a_snapshot_is_written(tmp_path, monkeypatch):
    go, writers, flush = threading.Event(), [], os.fsync

    def slow(file):
        go.wait(30)
        writers.append(threading.current_thread().name)
        flush(file)

    monkeypatch.setattr(os, "fsync", slow)
    files, weight, best = AtomicCheckpointIO(), torch.zeros(3), {"a": 1}
    files.save_checkpoint({"value": weight, "list": [weight], "best": best}, tmp_path / "last.ckpt")
    assert not (tmp_path / "last.ckpt").exists()
    weight += 1
    best["a"] = 2
    go.set()
    read = files.load_checkpoint(tmp_path / "last.ckpt", weights_only=True)  # waits for it
    assert read["value"].tolist() == read["list"][0].tolist() == [0, 0, 0]
    assert read["best"] == {"a": 1}
    assert all(name.startswith("checkpoint") for name in writers)
    files.teardown()


def test_state_dicts_keep_their_versions(tmp_path):
    files, norm = AtomicCheckpointIO(), torch.nn.BatchNorm1d(2)
    files.save_checkpoint({"state_dict": norm.state_dict()}, tmp_path / "last.ckpt")
    files.teardown()
    read = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    assert read._metadata == norm.state_dict()._metadata


def test_errors_of_the_writer_thread_are_raised_in_training(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "save", half)
    files = AtomicCheckpointIO()
    files.save_checkpoint({"value": 1}, tmp_path / "last.ckpt")
    with pytest.raises(ValueError, match="No space left"):
        files.wait()
    files.save_checkpoint({"value": 1}, tmp_path / "last.ckpt")
    while not files._pending[0].done():
        time.sleep(0.001)
    with pytest.raises(ValueError, match="No space left"):
        files.save_checkpoint({"value": 2}, tmp_path / "last.ckpt")
    files.teardown()

"""Experiment trackers: scalars, pictures and tables of a run, by one flag each, without a network."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from vertebra.tools import train
from vertebra.tools.arguments.tracker_names import tracker_names

from ..conftest import config


@pytest.fixture
def fit(tmp_path, monkeypatch, request):
    """A function that trains a task for two steps with trackers, and returns the run folder."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")

    def run(task: str, trackers: str) -> Path:
        (tmp_path / "tiny.yaml").write_text(config(task).replace("logger: false,", ""))
        folder, root = tmp_path / "run", request.getfixturevalue(f"{task}_samples")
        flags = ["--data.root", str(root), "--trainer.default_root_dir", str(folder), "--log", trackers]
        assert train.main(["fit", "-c", str(tmp_path / "tiny.yaml"), *flags]) == 0
        return folder

    return run


@pytest.mark.parametrize(
    "task",
    [
        "detection",
        "segmentation",
        *(pytest.param(task, marks=pytest.mark.slow) for task in ("classification", "video", "medical")),
    ],
)
def test_tensorboard_has_pictures_and_tables_of_every_task(task, fit):
    folder = fit(task, "tensorboard")
    events = EventAccumulator(str(next(folder.glob("logs/version_0"))), size_guidance={"images": 0, "tensors": 0})
    events.Reload()
    tags = events.Tags()
    assert tags["images"] == ["val/predictions"]
    assert {"val/predictions_table/text_summary", "val/metrics/text_summary"} <= set(tags["tensors"])
    assert any(tag.startswith("val/") for tag in tags["scalars"])
    (picture,) = events.Images("val/predictions")
    assert picture.width > 300
    table = events.Tensors("val/metrics/text_summary")[0].tensor_proto.string_val[0].decode()
    assert table.startswith("| metric | value |")


@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is an optional package")
def test_wandb_offline(fit):
    folder = fit("classification", "wandb")
    files = [path.name for path in (folder / "wandb").rglob("*") if path.is_file()]
    assert any(name.endswith(".wandb") for name in files)
    assert any(name.startswith("predictions_") and name.endswith(".png") for name in files)
    assert any(name.endswith(".table.json") for name in files)


@pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="mlflow is an optional package")
def test_mlflow_in_the_run_folder(fit, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    folder = fit("classification", "mlflow")
    files = {path.name for path in (folder / "mlruns").rglob("*") if path.is_file()}
    assert {"top1", "00000002.png", "00000002.json"} <= files
    assert any(name.startswith("model") for name in files)  # parameters


def test_trackers_that_are_unknown_or_not_installed_are_one_sentence(
    monkeypatch, tmp_path, classification_samples, capsys
):
    assert tracker_names(None) == []
    assert tracker_names("tensorboard") == ["tensorboard"]
    with pytest.raises(ValueError, match="--log is 'tensorbord'; expected one or more of tensorboard, wandb, mlflow"):
        tracker_names("tensorbord")
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "wandb" else find(name))
    (tmp_path / "tiny.yaml").write_text(config("classification").replace("logger: false,", ""))
    flags = ["--data.root", str(classification_samples), "--trainer.default_root_dir", str(tmp_path / "run")]
    assert train.main(["fit", "-c", str(tmp_path / "tiny.yaml"), *flags, "--log", "tensorboard,wandb"]) == 1
    assert "--log wandb needs the package wandb, which is not installed; install it" in capsys.readouterr().err


class Client:
    """Records the calls of a tracker's client."""

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        return lambda *args, **kwargs: self.calls.append((name, args, kwargs))


def test_pictures_and_tables_reach_the_clients_of_wandb_and_mlflow(monkeypatch):
    from lightning.pytorch.loggers import MLFlowLogger, WandbLogger

    from vertebra.tools.experiment.trackers import log_picture, log_table

    pixels, rows = np.zeros((2, 3, 3), np.uint8), [{"label": "cat", "score": 0.5}, {"label": "dog"}]
    mlflow, client = object.__new__(MLFlowLogger), Client()
    monkeypatch.setattr(MLFlowLogger, "experiment", client)
    monkeypatch.setattr(MLFlowLogger, "run_id", "r1")
    log_picture(mlflow, "val/predictions", pixels, 7)
    log_table(mlflow, "val/table", rows, 7)
    (_, picture, image_file), (_, table, _) = client.calls
    assert picture[0] == "r1"
    assert image_file == {"artifact_file": "val/predictions/00000007.png"}
    assert table[1] == {"label": ["cat", "dog"], "score": [0.5, None]}

    wandb, sent = object.__new__(WandbLogger), []
    monkeypatch.setattr(WandbLogger, "experiment", client)
    monkeypatch.setattr(WandbLogger, "log_image", lambda self, *args: sent.append(args))
    monkeypatch.setattr(WandbLogger, "log_table", lambda self, *args, **step: sent.append((*args, step)))
    log_picture(wandb, "val/predictions", pixels, 7)
    log_table(wandb, "val/table", rows, 7)
    assert sent[0][0] == "val/predictions"
    assert sent[1] == ("val/table", ["label", "score"], [["cat", 0.5], ["dog", None]], {"step": 7})

"""End-to-end tests of detection runs: training, interruption, resuming, evaluation, prediction."""

import json
import os
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ProgressBar
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

import vertebra
from vertebra.tools import main, predict, train
from vertebra.tools.experiment.progress import ThrottledProgressBar

pytestmark = pytest.mark.usefixtures("undrawn")

CONFIG = """
model:
  class_path: vertebra.tasks.detection.DetectionModule
  init_args:
    network:
      class_path: vertebra.tasks.detection.FasterRCNN
      init_args:
        backbone: "timm:test_resnet"
        channels: 16
        rois_per_image: 8
        proposals: {per_level: 20, per_image: 20, per_level_eval: 20, per_image_eval: 20}
data:
  class_path: vertebra.tasks.detection.DetectionData
  init_args:
    train: {annotations: annotations/train.json, images: images/train}
    val: {annotations: annotations/val.json, images: images/val}
    resize: {short: [64], longest: 80}
    batch_size: 2
    num_workers: 0
trainer:
  accelerator: cpu
  precision: 32-true
  max_epochs: 2
  enable_progress_bar: false
  enable_model_summary: false
"""


SMALL = "resnet:plain-basic-d1.1.1.1-w8.16.24.32"  # with the options of a ResNet
BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


class Recorder(Callback):
    """Records the images of every batch, and sends SIGINT in a given step."""

    trained: list[tuple[int, int]]  # (epoch, image id)
    stop_at: int | None
    bar: ProgressBar | None

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        Recorder.trained += [(trainer.current_epoch, source.image_id) for source in batch.sources]
        if Recorder.stop_at is not None and trainer.global_step + 1 == Recorder.stop_at:
            os.kill(os.getpid(), signal.SIGINT)


def fit_in(folder: Path, data: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that runs `vertebra fit` in a folder and returns the images trained on."""
    monkeypatch.chdir(folder)
    Path("tiny.yaml").write_text(CONFIG)
    instantiate = train.VertebraCLI.instantiate_trainer

    def with_recorder(self, **kwargs):
        trainer = instantiate(self, **kwargs)
        trainer.callbacks.insert(1, Recorder())  # after StopOnSignal, so that a batch it stops before is not recorded
        Recorder.bar = trainer.progress_bar_callback
        return trainer

    monkeypatch.setattr(train.VertebraCLI, "instantiate_trainer", with_recorder)

    def run(*flags: str, stop_at: int | None = None) -> list[tuple[int, int]]:
        Recorder.trained, Recorder.stop_at = [], stop_at
        args = ["fit", "-c", "tiny.yaml", "--data.root", str(data), *flags]
        assert train.main(args) == (0 if stop_at is None else 130)
        return Recorder.trained

    return run


@pytest.fixture
def fit(detection_samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Function that runs `vertebra fit` in an empty folder and returns the images trained on."""
    return fit_in(tmp_path, detection_samples, monkeypatch)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, detection_samples: Path):
    """Folder of a run that was not interrupted, and the images trained on."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    with pytest.MonkeyPatch.context() as monkeypatch:
        images = fit_in(folder, detection_samples, monkeypatch)()
    return folder / "runs/tiny", images


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, detection_samples: Path) -> Iterator[Path]:
    """Checkpoint of a detector trained for one epoch."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "tiny.yaml").write_text(CONFIG)
    flags = ["--data.root", str(detection_samples), "--trainer.default_root_dir", str(folder / "run")]
    flags += ["--model.network.backbone", SMALL, "--trainer.max_epochs", "1"]  # its norms are folded
    assert train.main(["fit", "-c", str(folder / "tiny.yaml"), *flags]) == 0
    yield folder / "run" / "checkpoints" / "best.ckpt"
    shutil.rmtree(folder)


def test_a_run_writes_checkpoints_logs_report_and_configuration(uninterrupted, detection_samples):
    def annotations(split):
        return json.loads((detection_samples / f"annotations/{split}.json").read_text())["annotations"]

    run, _ = uninterrupted
    names = {str(file.relative_to(run)) for file in run.rglob("*") if file.is_file()}
    assert {"checkpoints/best.ckpt", "checkpoints/last.ckpt", "config.yaml", "report.html"} <= names
    assert "logs/version_0/metrics.csv" in names
    assert any("tfevents" in name for name in names)
    content = torch.load(run / "checkpoints/best.ckpt", weights_only=True)
    assert content["class_names"] == ["disc", "ring", "square", "triangle", "star"]
    assert content["category_ids"] == [1, 3, 7, 8, 12]
    assert "timm:test_resnet" in content["config"]
    facts = json.loads((run / "run.json").read_text())
    assert facts["network"]["backbone"] == "timm:test_resnet"
    assert facts["network"]["parameters"] == sum(
        value.numel() for name, value in content["state_dict"].items() if not name.endswith(BUFFERS)
    )
    assert (facts["data"]["train"]["samples"], facts["data"]["val"]["samples"]) == (10, 5)
    assert sum(facts["data"]["train"]["labels"].values()) == len(annotations("train"))
    assert facts["command"].startswith("vertebra fit -c tiny.yaml --data.root ")
    assert facts["settings"]["optimizer"].startswith("SGD(lr=0.02, momentum=0.9")
    assert facts["input"] == [2, 3, 64, 96]
    assert 0 < facts["seconds"] < 600
    page = (run / "report.html").read_text()
    for text in (
        "Training samples",
        "FasterRCNN",
        "<dt>best epoch</dt><dd>",
        "validation split, 5 samples",
        "max_epochs",
    ):
        assert text in page
    numbers = json.loads((run / "metrics.json").read_text())
    assert numbers["split"] == "val"
    assert numbers["headline"]["AP"] == json.loads((run / "metrics_val.json").read_text())["map"]
    assert page.count("<table>") == len(numbers) - 2
    assert [row["class"] for row in numbers["Classes"]] == content["class_names"]


@pytest.mark.parametrize(("enabled", "kind"), [("true", ThrottledProgressBar), ("false", type(None))])
def test_the_progress_bar_is_throttled_unless_disabled(fit, enabled, kind):
    fit("--trainer.fast_dev_run", "1", "--trainer.enable_progress_bar", enabled)
    assert type(Recorder.bar) is kind


def test_an_interrupted_run_keeps_its_best_checkpoint(fit):
    fit(stop_at=7)  # in the second epoch of five batches
    best, last = (torch.load(f"runs/tiny/checkpoints/{name}.ckpt", weights_only=True) for name in ("best", "last"))
    assert (best["global_step"], last["global_step"]) == (5, 7)


def test_a_folder_with_a_run_is_refused(uninterrupted, detection_samples, tmp_path, capsys):
    (tmp_path / "tiny.yaml").write_text(CONFIG)
    args = ["-c", str(tmp_path / "tiny.yaml"), "--data.root", str(detection_samples)]
    assert train.main(["fit", *args, "--trainer.default_root_dir", str(uninterrupted[0])]) == 1
    message = capsys.readouterr().err
    assert "runs/tiny already holds a run" in message
    assert "--ckpt_path last" in message


def test_a_run_interrupted_in_an_epoch_resumes_with_the_remaining_images(fit, uninterrupted):
    before = fit(stop_at=3)
    assert len(before) == 6  # in the middle of the first epoch of five batches
    after = fit("--ckpt_path", "last")
    assert before + after == uninterrupted[1]
    assert sorted({image for epoch, image in before + after if epoch == 0}) == list(range(1, 11))


def test_a_run_that_ended_after_an_epoch_resumes_with_the_next_and_its_record_names_no_checkpoint(fit, uninterrupted):
    before = fit("--trainer.max_epochs", "1")
    assert before + fit("--ckpt_path", "last") == uninterrupted[1]
    for text in (
        Path("runs/tiny/config.yaml").read_text(),
        torch.load("runs/tiny/checkpoints/best.ckpt", weights_only=True)["config"],
    ):
        record = yaml.safe_load(text)
        assert record["ckpt_path"] is None
        assert record["checkpoint"]["dirpath"] is None


def test_a_renamed_run_is_measured_and_resumed_in_its_new_folder(fit, capsys):
    fit("--trainer.max_epochs", "1")
    scores = Path("runs/tiny/metrics_val.json").read_text()
    Path("runs/tiny").rename("renamed")
    Path("renamed/metrics_val.json").unlink()
    assert train.main(["validate", "-c", "renamed/config.yaml"]) == 0
    assert Path("renamed/metrics_val.json").read_text() == scores
    best = Path("renamed/checkpoints/best.ckpt").resolve()
    # from now on no epoch is better
    state = torch.load("renamed/checkpoints/last.ckpt", weights_only=True)
    (checkpoints,) = (value for value in state["callbacks"].values() if "best_model_path" in value)
    checkpoints["best_model_score"] = checkpoints["kth_value"] = torch.tensor(2.0)
    checkpoints["best_k_models"] = {path: torch.tensor(2.0) for path in checkpoints["best_k_models"]}
    torch.save(state, "renamed/checkpoints/last.ckpt")
    before = best.stat().st_mtime_ns
    resume = ["--ckpt_path", "last", "--trainer.max_epochs", "2"]
    assert train.main(["fit", "-c", "renamed/config.yaml", *resume]) == 0
    assert best.stat().st_mtime_ns == before
    assert torch.load("renamed/checkpoints/last.ckpt", weights_only=True)["epoch"] == 1
    assert not Path("runs/tiny").exists()


@pytest.mark.slow
def test_a_run_by_the_record_of_another_leaves_that_alone(fit):
    fit("--trainer.max_epochs", "1")
    before = {file: file.stat().st_mtime_ns for file in Path("runs/tiny").rglob("*")}
    args = ["fit", "-c", "runs/tiny/config.yaml", "--trainer.default_root_dir", "second"]
    assert train.main(args) == 0
    assert Path("second/checkpoints/best.ckpt").is_file()
    assert {file: file.stat().st_mtime_ns for file in Path("runs/tiny").rglob("*")} == before


def test_every_option_of_a_backbone_is_a_flag(fit):
    backbone = "--model.network.backbone"
    flags = [backbone, "vertebra.tasks.training.named_backbone.NamedBackbone", f"{backbone}.name", SMALL]
    fit(*flags, f"{backbone}.checkpointing", "true", f"{backbone}.out_levels", "[C3, C4]", "--trainer.max_steps", "1")
    options = yaml.safe_load(Path("runs/tiny/config.yaml").read_text())["model"]["init_args"]["network"]["init_args"]
    assert options["backbone"]["init_args"]["checkpointing"] is True
    state = torch.load("runs/tiny/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert len([key for key in state if key.startswith("network.neck.inner_blocks.") and key.endswith("weight")]) == 2


def test_validate_without_a_checkpoint_is_refused(detection_samples, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(CONFIG)
    assert train.main(["validate", "-c", "tiny.yaml", "--data.root", str(detection_samples)]) == 1
    assert "metrics of untrained weights mean nothing" in capsys.readouterr().err


def test_an_unknown_key_is_an_error(detection_samples, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(CONFIG.replace("rois_per_image", "rois_per_picture"))
    assert train.main(["fit", "-c", "tiny.yaml", "--data.root", str(detection_samples)]) == 1
    assert "--model.network.rois_per_picture does not exist" in capsys.readouterr().err
    assert main.main(["fit", "-c", "tiny.yaml", "--data.root", str(detection_samples)]) == 1
    expected = "tiny.yaml: unknown key model.network.rois_per_picture; did you mean --model.network.rois_per_image?"
    assert expected in capsys.readouterr().err


def test_an_unreadable_image_stops_the_run_with_one_line(detection_samples, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(CONFIG)
    root = tmp_path / "data"
    shutil.copytree(detection_samples, root)
    broken = sorted((root / "images" / "train").glob("*.jpg"))[3]
    broken.write_bytes(b"not an image")
    args = ["fit", "-c", "tiny.yaml", "--data.root", str(root), "--data.num_workers", "1"]  # raised in a loader process
    assert train.main(args) == 1
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith(f"vertebra: {broken}: ")
    assert "data.missing=skip" in message


def test_predict_needs_only_the_checkpoint_and_skips_an_unreadable_image(trained, detection_samples, tmp_path, recwarn):
    photos = tmp_path / "photos"
    shutil.copytree(detection_samples / "images" / "val", photos)
    broken = photos / "broken.jpg"
    broken.write_bytes(next(photos.glob("*.jpg")).read_bytes()[:400])
    moved = tmp_path / "moved.ckpt"  # outside its run folder, without its data set
    shutil.copy(trained, moved)
    output = tmp_path / "out"
    low = ["--model.network.detections.score_threshold", "0.0"]
    assert predict.main([str(moved), str(photos), "--output", str(output), *low]) == 0
    rows = json.loads((output / "detections.json").read_text())
    assert rows
    assert {row["category_id"] for row in rows} <= {1, 3, 7, 8, 12}
    assert all(len(row["bbox"]) == 4 and 0 <= row["score"] <= 1 for row in rows)
    assert len(list((output / "pictures").glob("*.jpg"))) == 5
    assert any("broken.jpg" in str(warning.message) for warning in recwarn)


def coco_ap(annotations: Path, results: Path) -> float:
    """Return AP of a results file as pycocotools measures it."""
    truth = COCO(str(annotations))
    evaluation = COCOeval(truth, truth.loadRes(str(results)), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats[0]


def test_written_detections_have_the_ap_of_validate_in_pycocotools(trained, detection_samples, tmp_path):
    run, annotations = tmp_path / "run", detection_samples / "annotations" / "val.json"
    shutil.copytree(trained.parents[1], run)
    low = ["--model.network.detections.score_threshold", "0.0"]
    assert train.main(["validate", "-c", str(run / "config.yaml"), "--save", *low]) == 0
    expected = json.loads((run / "metrics_val.json").read_text())["map"]
    assert expected > 0
    assert coco_ap(annotations, run / "detections_val.json") == pytest.approx(expected, abs=1e-9)
    images = detection_samples / "images" / "val"
    flags = ["--annotations", str(annotations), "--output", str(tmp_path / "out"), "--data.num_workers", "0", *low]
    flags += ["--trainer.precision", "32-true"]
    assert predict.main([str(run), str(images), *flags]) == 0
    # folded norms change the last digits of a score
    assert coco_ap(annotations, tmp_path / "out" / "detections.json") == pytest.approx(expected, abs=1e-4)
    predictions = vertebra.load(run).predict(images, annotations=annotations)
    rows = json.loads((predictions.save(tmp_path / "python") / "detections.json").read_text())
    assert {row["image_id"] for row in rows} <= {row["id"] for row in json.loads(annotations.read_text())["images"]}


def test_predict_refuses_annotations_that_do_not_exist(trained, detection_samples, tmp_path, capsys):
    images = str(detection_samples / "images" / "val")
    assert predict.main([str(trained), images, "--annotations", str(tmp_path / "no.json")]) == 1
    assert "no.json does not exist; give the COCO annotation file" in capsys.readouterr().err


def test_predict_names_a_folder_without_images_before_the_run_is_made(trained, medical_samples, capsys, monkeypatch):
    monkeypatch.setattr(predict, "_run", None)
    assert predict.main([str(trained), str(medical_samples / "volumes")]) == 1
    assert re.search(r"volumes: the folder holds .*; expected images \(", capsys.readouterr().err)


def test_predict_names_missing_files(trained, tmp_path, capsys):
    assert predict.main([str(trained), str(tmp_path / "nowhere")]) == 1
    assert "nowhere does not exist" in capsys.readouterr().err
    assert predict.main([str(tmp_path / "no.ckpt"), str(tmp_path)]) == 1
    assert "no.ckpt does not exist" in capsys.readouterr().err

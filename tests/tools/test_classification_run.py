"""End-to-end tests of classification runs: training, evaluation, prediction, checks."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tiny_runs import fit
from vertebra.tools import check, degradation, demo, predict, train
from vertebra.tools.samples import classification as samples

pytestmark = pytest.mark.usefixtures("undrawn")

CONFIG = """
model:
  class_path: vertebra.tasks.classification.ClassificationModule
  init_args:
    network:
      class_path: vertebra.tasks.classification.ImageClassifier
      init_args: {backbone: resnet20}
data:
  class_path: vertebra.tasks.classification.ClassificationData
  init_args:
    resize: {size: [24, 24], crop: 1.0}
    augment:
      - class_path: albumentations.HorizontalFlip
    batch_size: 10
    num_workers: 0
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, classification_samples: Path) -> Path:
    code, run = fit(CONFIG, tmp_path_factory.mktemp("trained"), classification_samples)
    assert code == 0
    return run


def test_a_run_monitors_accuracy_and_writes_a_report(trained, classification_samples, capsys):
    content = torch.load(trained / "checkpoints/best.ckpt", weights_only=True)
    assert content["class_names"] == list(samples.CLASSES)
    assert "monitor: val/top1" in (trained / "config.yaml").read_text()
    report = (trained / "report.html").read_text()
    for word in ("top-1", "calibration error", "hatching", "Worst images", "Training", "<img"):
        assert word in report
    rows = list(csv.DictReader((trained / "logs/version_0/metrics.csv").open()))
    assert {"train/loss", "val/loss", "val/top1", "val/top5", "val/ece"} <= set(rows[0])
    assert train.main(["validate", "-c", str(trained / "config.yaml")]) == 0


def test_predict_writes_a_table_and_the_input_features_of_the_head(trained, classification_samples, tmp_path, recwarn):
    photos = tmp_path / "photos"
    shutil.copytree(classification_samples / "val", photos)
    (photos / "broken.png").write_bytes(b"not an image")
    moved = tmp_path / "moved.ckpt"  # outside its run folder, without its data set
    shutil.copy(trained / "checkpoints/best.ckpt", moved)
    output = tmp_path / "out"
    flags = ["--model.embeddings", "true", "--data.batch_size", "4", "--trainer.precision", "32-true"]
    assert predict.main([str(moved), str(photos), "--output", str(output), *flags]) == 0
    rows = list(csv.DictReader((output / "predictions.csv").open()))
    assert len(rows) == 13
    assert [row["file"] for row in rows] == sorted(row["file"] for row in rows)
    scores = [[float(row[name]) for name in ("score", "score_2", "score_3", "score_4", "score_5")] for row in rows]
    assert all(row == sorted(row, reverse=True) and sum(row) <= 1 for row in scores)
    stored = np.load(output / "embeddings.npz")
    assert stored["files"].tolist() == [row["file"] for row in rows]
    state = torch.load(moved, weights_only=True)["state_dict"]
    logits = torch.from_numpy(stored["features"]) @ state["network.head.fc.weight"].T + state["network.head.fc.bias"]
    assert [samples.CLASSES[label] for label in logits.argmax(dim=1)] == [row["label"] for row in rows]
    np.testing.assert_allclose(logits.softmax(dim=1).amax(dim=1), [row[0] for row in scores], atol=1e-5)
    assert any("broken.png" in str(warning.message) for warning in recwarn)
    assert predict.main([str(moved), str(photos), "--output", str(tmp_path / "plain")]) == 0
    assert not (tmp_path / "plain" / "embeddings.npz").exists()


def test_averaged_weights_are_evaluated_and_saved(classification_samples, tmp_path):
    flags = [
        "--trainer.callbacks+",
        "EMAWeightAveraging",
        "--trainer.callbacks.decay",
        "0.5",
        "--trainer.max_epochs",
        "2",
    ]
    code, run = fit(CONFIG, tmp_path, classification_samples, *flags)
    assert code == 0
    content = torch.load(run / "checkpoints/best.ckpt", weights_only=True)
    key = "network.head.fc.weight"
    assert not torch.equal(content["state_dict"][key], content["current_model_state"][key])
    report = (run / "report.html").read_text()
    assert train.main(["validate", "-c", str(run / "config.yaml")]) == 0
    numbers = [
        text[text.index('<dl class="headline">') : text.index("<nav")]
        for text in (report, (run / "report.html").read_text())
    ]
    assert numbers[0] == numbers[1]  # the second evaluation loads the averaged weights only


def test_gradual_unfreezing_and_nested_transforms_run_from_the_command_line(classification_samples, tmp_path):
    (tmp_path / "more.yaml").write_text(
        """
data:
  augment:
    - class_path: albumentations.RandomResizedCrop
      init_args: {size: [24, 24]}
    - class_path: albumentations.SomeOf
      init_args:
        n: 2
        transforms:
          - class_path: albumentations.Posterize
          - class_path: albumentations.ColorJitter
    - class_path: albumentations.Erasing
      init_args: {p: 1.0}
"""
    )
    code, run = fit(
        CONFIG,
        tmp_path,
        classification_samples,
        *("-c", str(tmp_path / "more.yaml")),
        *("--data.val_fraction", "0.5", "--model.mixing", "{mixup: 0.2, cutmix: 1.0}"),
        *(
            "--model.loss",
            "vertebra.tasks.training.losses.CrossEntropy",
            "--model.loss.label_smoothing",
            "0.1",
            "--model.layer_decay",
            "0.7",
            "--model.network.drop_rate",
            "0.1",
        ),
        *("--trainer.callbacks+", "vertebra.tasks.training.unfreezing.GradualUnfreezing", "--trainer.max_epochs", "2"),
        *("--model.views", "{flip: true, crop: 0.9}"),
    )
    assert code == 0
    assert "albumentations.Posterize" in (run / "config.yaml").read_text()


@pytest.fixture
def folders(tmp_path, classification_samples):
    shutil.copytree(classification_samples, tmp_path / "data")
    return tmp_path / "data"


def kinds(output):
    return sorted(line[line.rindex("[") + 1 : -1] for line in output.splitlines() if line.endswith("]"))


def test_check_reports_the_faults_of_class_folders(folders, capsys):
    assert check.main([str(folders)]) == 0
    assert "20 images, 20 labels: bricks 2, checks 2" in capsys.readouterr().out
    image = next((folders / "train/dots").glob("*.png"))
    shutil.copy(image, folders / "val/dots/again.png")
    (folders / "val/dots/broken.png").write_bytes(image.read_bytes()[:100])
    (folders / "train/empty").mkdir()
    (folders / "val/unknown").mkdir()
    shutil.copy(next((folders / "val/grid").glob("*.png")), folders / "val/unknown")
    assert check.main([str(folders)]) == 1
    output = capsys.readouterr().out
    assert kinds(output) == ["empty class", "leak", "unknown category", "unreadable image"]
    assert f"{folders}/val/dots/again.png: of {folders}/val has the same bytes as {image} of {folders}/train" in output


def test_check_reports_the_faults_of_tables(folders, capsys):
    files = sorted(str(file.relative_to(folders)) for file in folders.glob("*/*/*.png"))
    train_csv, val_csv = folders / "train.csv", folders / "val.csv"
    train_csv.write_text("path,label\n" + "".join(f"{file},{'ab'[i % 2]}\n" for i, file in enumerate(files[:6])))
    val_csv.write_text(f"path,label\n{files[0]},a\n{files[8]},c\n{files[9]},b\n{files[9]},a\nnowhere.png,b\n")
    assert check.main([str(train_csv)]) == 0
    assert check.main([str(train_csv), str(val_csv)]) == 1
    output = capsys.readouterr().out
    assert kinds(output) == ["conflicting labels", "leak", "missing file", "unknown category"]
    assert "label 'c' is not among the classes: a, b" in output
    (folders / "val.csv").write_text("file\nx\n")
    assert check.main([str(val_csv)]) == 1
    assert kinds(capsys.readouterr().out) == ["unreadable annotations"]


def test_the_demo_trains_and_prints_the_path_of_the_report(tmp_path, monkeypatch, capsys):
    write = samples.write_classification_samples
    monkeypatch.setattr(samples, "write_classification_samples", lambda root: write(root, train=20, val=10))
    monkeypatch.chdir(tmp_path)
    assert demo.main(["classification", "--trainer.max_epochs", "1", "--data.num_workers", "0"]) == 0
    assert "open runs/demo_classification/report.html" in capsys.readouterr().out
    assert "top-5" in Path("runs/demo_classification/report.html").read_text()


def test_degradation_prints_a_conclusion_and_writes_figure_and_report(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(degradation, "_NUM_VAL", 20)
    flags = ["--images", "30", "--epochs", "2", "--batch-size", "10", "--seeds", "2", "--depths", "20", "32"]
    assert degradation.main([*flags, "--output", str(tmp_path)]) == 0
    output = capsys.readouterr().out
    assert output.count("training error") >= 10  # a line per training, and the conclusion
    assert "plain32, seed 1" in output
    report = (tmp_path / "report.html").read_text()
    assert report.count("<svg") == 2
    assert "30 training and 20 validation images of 24 x 24 pixels (generated textures)" in report
    assert (tmp_path / "degradation.png").stat().st_size > 10_000


def test_the_history_adds_the_networks_before_residual_ones(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(degradation, "_NUM_VAL", 20)
    flags = ["--history", "--images", "20", "--epochs", "1", "--batch-size", "10", "--depths", "20", "32"]
    assert degradation.main([*flags, "--output", str(tmp_path)]) == 0
    output = capsys.readouterr().out
    order = ["alexnet_cifar", "vgg_cifar", "plain20", "plain32", "resnet20", "resnet32"]
    assert [line.split(",")[0] for line in output.splitlines() if ", seed 0:" in line] == order
    assert "history.png" in output
    report = (tmp_path / "report.html").read_text()
    assert report.count("<svg") == 3
    assert "From AlexNet to ResNet" in report
    assert (tmp_path / "history.png").stat().st_size > 10_000


def test_degradation_refuses_invalid_arguments(tmp_path, capsys):
    assert degradation.main(["--data", str(tmp_path / "no.tar.gz")]) == 1
    assert "no.tar.gz does not exist" in capsys.readouterr().err
    assert degradation.main(["--images", "10", "--depths", "20", "21", "--output", str(tmp_path)]) == 1
    assert "unknown backbone 'plain21'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        degradation.main(["--seeds", "0"])

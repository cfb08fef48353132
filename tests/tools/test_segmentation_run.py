"""End-to-end tests of segmentation runs: checks, training, evaluation, prediction."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tiny_runs import fit
from vertebra.tasks.segmentation.drawing import palette
from vertebra.tasks.segmentation.metrics import ious
from vertebra.tools import check, demo, predict
from vertebra.tools.samples import segmentation as samples

pytestmark = pytest.mark.usefixtures("undrawn")

CONFIG = """
model:
  class_path: vertebra.tasks.segmentation.SegmentationModule
  init_args:
    network:
      class_path: vertebra.tasks.segmentation.DeepLabV3Plus
      init_args: {backbone: "timm:test_resnet", channels: 16, aux: true}
    loss:
      class_path: vertebra.tasks.segmentation.losses.Sum
      init_args:
        losses:
          - class_path: vertebra.tasks.segmentation.losses.CrossEntropy
          - class_path: vertebra.tasks.segmentation.losses.Lovasz
        weights: [1.0, 0.5]
    views:
      class_path: vertebra.tasks.segmentation.views.MultiScale
      init_args:
        scales: [0.75, 1.0]
        views:
          class_path: vertebra.tasks.segmentation.views.SlidingWindow
          init_args: {size: [56, 64]}
    head_lr_mult: 10.0
data:
  class_path: vertebra.tasks.segmentation.SegmentationData
  init_args:
    train: {images: images/train, masks: masks/train}
    val: {images: images/val, masks: masks/val}
    crop: {size: [48, 48]}
    balance: 0.5
    batch_size: 3
    num_workers: 0
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, segmentation_samples: Path) -> Path:
    code, run = fit(CONFIG, tmp_path_factory.mktemp("trained"), segmentation_samples)
    assert code == 0
    return run


def test_a_run_monitors_miou_and_writes_a_report(trained):
    content = torch.load(trained / "checkpoints/best.ckpt", weights_only=True)
    assert content["class_names"] == list(samples.CLASSES)
    assert "monitor: val/miou" in (trained / "config.yaml").read_text()
    report = (trained / "report.html").read_text()
    for word in ("mIoU", "boundary F1", "triangle", "fraction of pixels", "Confusion", "Training", "Worst images"):
        assert word in report
    assert report.count("<img alt") == 5  # all five validation images have errors to show
    rows = list(csv.DictReader((trained / "logs/version_0/metrics.csv").open()))
    assert {"train/loss", "train/loss_main", "train/loss_aux", "val/miou", "val/pixel_accuracy"} <= set(rows[0])


def test_predict_writes_masks_at_the_original_image_size(trained, segmentation_samples, tmp_path, recwarn):
    photos = tmp_path / "photos"
    shutil.copytree(segmentation_samples / "images/val", photos)
    Image.open(photos / "000000.jpg").resize((90, 50)).save(photos / "other.png")
    (photos / "broken.png").write_bytes(b"not an image")
    output = tmp_path / "out"
    flags = ["--output", str(output), "--data.batch_size", "4", "--trainer.precision", "32-true"]
    assert predict.main([str(trained / "checkpoints/best.ckpt"), str(photos), *flags]) == 0
    masks = sorted((output / "masks").iterdir())
    assert [file.name for file in masks] == [
        *(f"{index:06d}.png" for index in range(5)),
        "other.png",
    ]
    assert any("broken.png" in str(warning.message) for warning in recwarn)
    for file in masks:
        mask, picture = Image.open(file), Image.open(output / "pictures" / f"{file.stem}.jpg")
        size = (90, 50) if "other" in file.name else (80, 64)
        assert mask.size == picture.size == size
        assert mask.mode == "P"
        assert np.array(mask).max() < 6
        np.testing.assert_array_equal(np.array(mask.convert("RGB")), palette(6)[np.array(mask)])
    # the written masks give the score of the report
    confusion = np.zeros((6, 6), int)
    for index in range(5):
        truth = np.array(Image.open(segmentation_samples / f"masks/val/{index:06d}.png"))
        np.add.at(confusion, (truth, np.array(Image.open(masks[index]))), 1)
    score = np.nanmean(ious(confusion))
    report = (trained / "report.html").read_text()
    assert f"<dd>{score:.3f}</dd>" in report[report.index('<dl class="headline">') :]


def test_check_reports_all_planted_faults(segmentation_samples, tmp_path, capsys):
    root = tmp_path / "data"
    shutil.copytree(segmentation_samples, root)
    assert check.main([str(root)]) == 0
    output = capsys.readouterr().out
    assert "8 images, 40960 pixels, 0.00% ignored; labeled pixels: background" in output
    with (root / "classes.txt").open("a") as file:
        file.write("unicorn\n")
    (root / "masks/train/000001.png").unlink()
    Image.new("L", (64, 80)).save(root / "masks/train/000002.png")  # height and width exchanged
    mask = np.array(Image.open(root / "masks/val/000003.png"))
    mask[:2, :5] = 77
    Image.fromarray(mask).save(root / "masks/val/000003.png")
    (root / "masks/val/000004.png").write_bytes(b"not an image")
    (root / "images/val/000000.jpg").write_bytes((root / "images/val/000000.jpg").read_bytes()[:300])
    shutil.copy(root / "images/train/000005.jpg", root / "images/val/000001.jpg")
    assert check.main([str(root)]) == 1
    lines = capsys.readouterr().out.splitlines()
    expected = {
        "[missing file]": "images/train/000001.jpg",
        "[size mismatch]": "masks/train/000002.png",
        "[unknown value]": "masks/val/000003.png: the values 77 (10 pixels)",
        "[empty class]": "masks/train: no pixel of any mask is of class 'unicorn'",
        "[leak]": "000001.jpg",
    }
    for kind, what in expected.items():
        (line,) = [line for line in lines if line.endswith(kind)]
        assert what in line
    broken = sorted(line.split(": ")[0][-len("masks/val/000004.png") :] for line in lines if "[unreadable" in line)
    assert broken == ["images/val/000000.jpg"[-20:], "masks/val/000004.png"]
    assert lines[-1] == "faults in all: 7"


def test_the_demo_trains_and_writes_a_report(tmp_path, monkeypatch):
    write = samples.write_segmentation_samples

    def few(root: Path) -> None:
        write(root, train=4, val=2, size=(40, 48))

    monkeypatch.setattr(samples, "write_segmentation_samples", few)
    flags = ["--trainer.max_epochs", "1", "--data.batch_size", "2", "--data.num_workers", "0", "--data.crop.size"]
    flags += ["[40, 48]", "--trainer.accelerator", "cpu", "--model.network.backbone", "timm:test_resnet"]
    assert demo.main(["segmentation", "--output", str(tmp_path / "run"), *flags]) == 0
    assert "mIoU" in (tmp_path / "run/report.html").read_text()


def test_samples_are_reproducible_and_contain_every_class(tmp_path):
    for name in ("a", "b"):
        samples.write_segmentation_samples(tmp_path / name, train=20, val=1, size=(48, 64))
    masks = [np.array(Image.open(file)) for file in sorted((tmp_path / "a/masks/train").iterdir())]
    assert set(np.unique(masks)) == set(range(6))
    for file in sorted((tmp_path / "a").rglob("*.*")):
        assert file.read_bytes() == (tmp_path / "b" / file.relative_to(tmp_path / "a")).read_bytes()

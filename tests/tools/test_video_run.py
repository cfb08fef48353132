"""End-to-end tests of video runs: checks, training, evaluation, prediction."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tiny_runs import fit
from vertebra.tasks.video.decoding import open_video
from vertebra.tools import check, demo, predict
from vertebra.tools.samples import video as samples

pytestmark = pytest.mark.usefixtures("undrawn")

CONFIG = """
model:
  class_path: vertebra.tasks.video.VideoModule
  init_args:
    network:
      class_path: vertebra.tasks.video.VideoClassifier
      init_args: {backbone: "tsn:timm:test_resnet"}
    mixing: {mixup: 0.2, cutmix: 1.0}
    loss:
      class_path: vertebra.tasks.training.losses.CrossEntropy
      init_args: {label_smoothing: 0.1}
data:
  class_path: vertebra.tasks.video.VideoData
  init_args:
    sampling:
      class_path: vertebra.tasks.video.sampling.Dense
      init_args: {frames: 4, stride: 2}
    resize: {size: [32, 32]}
    no_flip_classes: [left, right]
    repeats: 2
    val_clips: 2
    batch_size: 4
    num_workers: 0
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, video_samples: Path) -> Path:
    code, run = fit(CONFIG, tmp_path_factory.mktemp("trained"), video_samples)
    assert code == 0
    return run


def test_a_run_monitors_accuracy_and_writes_a_report(trained):
    content = torch.load(trained / "checkpoints/best.ckpt", weights_only=True)
    assert content["class_names"] == list(samples.CLASSES)
    report = (trained / "report.html").read_text()
    for word in ("top-1", "videos", "counterclockwise", "Worst videos", "Training", "<img"):
        assert word in report
    rows = list(csv.DictReader((trained / "logs/version_0/metrics.csv").open()))
    assert {"train/loss", "train/data_wait", "val/loss", "val/top1", "val/top5"} <= set(rows[0])
    waits = [float(row["train/data_wait"]) for row in rows if row["train/data_wait"]]
    assert waits
    assert all(0 < wait < 60 for wait in waits)


def with_broken_files(video_samples: Path, folder: Path) -> Path:
    """Copy the validation videos and add four files that cannot be decoded."""
    videos = folder / "videos"
    shutil.copytree(video_samples / "val", videos)
    intact = (videos / "left/000005.mp4").read_bytes()
    (videos / "left/cut.mp4").write_bytes(intact[: len(intact) // 2])
    (videos / "left/empty.mp4").write_bytes(b"")
    (videos / "right/text.mp4").write_bytes(b"404 not found\n" * 100)
    (videos / "right/photo.avi").write_bytes(b"\xff\xd8\xff\xe0 not a JPEG either")
    return videos


BROKEN = {"cut.mp4", "empty.mp4", "text.mp4", "photo.avi"}


def test_predict_writes_table_and_timelines_and_names_broken_files(trained, video_samples, tmp_path, recwarn):
    videos = with_broken_files(video_samples, tmp_path)
    output = tmp_path / "out"
    flags = ["--output", str(output), "--data.num_workers", "0", "--trainer.precision", "32-true"]
    assert predict.main([str(trained / "checkpoints/best.ckpt"), str(videos), *flags]) == 0
    rows = list(csv.DictReader((output / "predictions.csv").open()))
    assert len(rows) == 9
    messages = " ".join(str(warning.message) for warning in recwarn)
    assert all(name in messages for name in BROKEN)
    assert f"({len(BROKEN)} so far)" in messages
    timelines = sorted((output / "timelines").glob("*.json"))
    assert len(timelines) == 9
    content = json.loads(timelines[0].read_text())
    assert content["file"] == rows[0]["file"]
    spans = [(clip["start"], clip["end"]) for clip in content["clips"]]
    assert spans == sorted(spans)
    with open_video(rows[0]["file"]) as video:
        assert spans[0][0] == 0
        assert spans[-1][1] == pytest.approx(video.timestamps[-1], abs=1e-3)
    scores = np.array([clip["scores"] for clip in content["clips"]])
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-4)
    mean = scores.mean(axis=0)
    assert content["class_names"][int(mean.argmax())] == rows[0]["label"]
    assert float(rows[0]["score"]) == pytest.approx(mean.max(), abs=1e-5)
    assert Image.open(timelines[0].with_suffix(".png")).size[0] > 500


def test_check_and_fit_name_broken_files(video_samples, tmp_path, capsys, recwarn):
    root = tmp_path / "data"
    root.mkdir()
    with_broken_files(video_samples, root)
    (root / "videos").rename(root / "train")
    shutil.copytree(video_samples / "val", root / "val")
    shutil.rmtree(root / "val/up")
    shutil.copytree(video_samples / "train/up", root / "val/up")
    assert check.main([str(root / "train"), "--all"]) == 1
    lines = capsys.readouterr().out.splitlines()
    named = {Path(line.split(": ")[0]).name for line in lines if line.endswith("[unreadable video]")}
    assert named == BROKEN
    assert fit(CONFIG, tmp_path, root)[0] == 1  # stops at the first one
    message = capsys.readouterr().err
    assert any(name in message for name in BROKEN)
    shutil.rmtree(tmp_path / "run", ignore_errors=True)
    assert fit(CONFIG, tmp_path, root, "--data.missing", "skip", "--trainer.max_epochs", "2")[0] == 0
    messages = " ".join(str(warning.message) for warning in recwarn)
    assert all(name in messages for name in BROKEN)
    assert f"({len(BROKEN)} so far)" in messages


def test_check_reports_a_group_in_both_splits(video_samples, tmp_path, capsys):
    (tmp_path / "videos").symlink_to(video_samples / "train")
    videos = sorted(str(file) for file in (tmp_path / "videos").glob("*/*.mp4"))  # two per class, adjacent
    for name, files, camera in (("train", videos[::2], "one"), ("val", videos[1::2], "two")):
        rows = [f"{file},{Path(file).parent.name},{camera}{i % 3}" for i, file in enumerate(files)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["path,label,camera", *rows]))
    lists = [str(tmp_path / "train.csv"), str(tmp_path / "val.csv")]
    assert "leak" not in (check.main([*lists, "--group", "camera"]), capsys.readouterr().out)[1]
    text = (tmp_path / "val.csv").read_text().replace("two1", "one1")
    (tmp_path / "val.csv").write_text(text)
    assert check.main([*lists, "--group", "camera"]) == 1
    assert "group 'one1' is also in" in capsys.readouterr().out


@pytest.mark.slow
def test_demo_trains_two_networks_and_compares_them(tmp_path, monkeypatch, capsys):
    write = samples.write_video_samples

    def few(root: Path) -> None:
        write(root, train=9, val=9, frames=8)

    monkeypatch.setattr(samples, "write_video_samples", few)
    flags = ["--trainer.max_epochs", "1", "--data.num_workers", "0", "--trainer.accelerator", "cpu"]
    flags += ["--trainer.limit_train_batches", "1", "--data.batch_size", "3", "--data.val_clips", "1"]
    flags += ["--data.resize.size", "[24, 24]", "--data.augment", "[]"]
    flags += ["--checkpoint.save_last", "false"]  # one copy of 33 million weights is enough
    assert demo.main(["video", "--output", str(tmp_path / "run"), *flags]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| demo")]
    assert [row.split(" | ")[0] for row in rows] == ["| demo", "| demo_single_frame"]
    assert (tmp_path / "run/report.html").is_file()
    assert (tmp_path / "run/single_frame/report.html").is_file()


def test_samples_are_reproducible_and_shrinking_is_growing_reversed():
    def draw(name, seed):
        return samples.draw_motion(np.random.default_rng(seed), name, 32, 6)

    for name in samples.CLASSES:
        np.testing.assert_array_equal(draw(name, 1), draw(name, 1))
        assert not np.array_equal(draw(name, 1), draw(name, 2))
    growing, shrinking = (
        np.stack([draw(name, seed) for seed in range(8)]).astype(int) for name in ("growing", "shrinking")
    )
    # mean absolute difference of two independent normal numbers of standard deviation 4, the noise of a frame
    noise = 4 * 2 / np.sqrt(np.pi)
    assert np.abs(growing - shrinking[:, ::-1]).mean() < 1.05 * noise
    assert np.abs(growing - shrinking).mean() > 1.3 * noise

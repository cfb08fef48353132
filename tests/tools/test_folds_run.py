"""End-to-end tests of `vertebra folds`."""

import json
from pathlib import Path

import numpy as np
import pytest

from vertebra.tasks.reporting.evaluated_table import EvaluatedTable, read_evaluated
from vertebra.tools import folds, train

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture
def video_list(video_samples: Path, tmp_path: Path) -> Path:
    """Folder with all.csv: 18 videos of two classes from five cameras."""
    (tmp_path / "videos").symlink_to(video_samples / "train")
    videos = sorted((tmp_path / "videos").glob("*/*.mp4"))
    rows = [f"{file},{'up' if i < 9 else 'down'},camera {i % 5}" for i, file in enumerate(videos)]
    (tmp_path / "all.csv").write_text("\n".join(["path,label,camera", *rows]))
    return tmp_path


FLAGS = {
    "data.train": "all.csv",
    "data.group": "camera",
    "data.sampling": "vertebra.tasks.video.sampling.Segments",
    "data.sampling.frames": "2",
    "data.resize.size": "[16, 16]",
    "data.augment": "[]",
    "data.num_workers": "0",
    "model.network.backbone": "tsn:timm:test_resnet",
    "trainer.max_epochs": "1",
    "trainer.accelerator": "cpu",
    "trainer.precision": "32-true",
    "trainer.enable_progress_bar": "false",
    "trainer.enable_model_summary": "false",
}


def test_every_video_is_evaluated_once_and_no_camera_is_in_two_folds(video_list, monkeypatch, capsys):
    monkeypatch.chdir(video_list)
    flags = [word for name, value in FLAGS.items() for word in (f"--{name}", value)]
    args = ["-c", "video/tsm_resnet18_fight.yaml", "--folds", "2", "--data.root", str(video_list), *flags]
    assert folds.main(args) == 0
    run = Path("runs/tsm_resnet18_fight_folds")
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert lines[0] == "| fold | samples | groups | accuracy | AUROC |"
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| 0", "| 1", "| all"]
    parts = [read_evaluated(run / f"fold_{fold}" / "scores_val.csv") for fold in range(2)]
    assert not set(parts[0].groups) & set(parts[1].groups)
    pooled = read_evaluated(run / "scores_val.csv")
    assert len(set(pooled.names.tolist())) == 18
    np.testing.assert_allclose(pooled.probs.sum(axis=1), 1, atol=1e-5)
    accuracy = (pooled.probs.argmax(axis=1) == pooled.labels).mean()
    assert lines[-1].startswith(f"| all | 18 | 5 | {accuracy:.3f} (")

    def refuse(args):
        raise AssertionError(f"trained again: {args}")

    monkeypatch.setattr(train, "main", refuse)  # finished folds are not trained again
    assert folds.main(args) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")] == lines


@pytest.mark.slow  # the folds themselves are those of videos, above
def test_segmenters_are_scored_fold_by_fold(segmentation_samples, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tiny = {name: value for name, value in FLAGS.items() if name.startswith("trainer")}
    tiny |= {"data.crop.size": "[32, 32]", "data.num_workers": "0", "model.network.channels": "8"}
    tiny |= {"model.network.backbone": "timm:test_resnet"}
    flags = [part for name, value in tiny.items() for part in (f"--{name}", value)]
    args = ["-c", "segmentation/demo.yaml", "--folds", "2", "--data.root", str(segmentation_samples), *flags]
    assert folds.main(args) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert lines[0] == "| fold | miou | pixel_accuracy |"
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| 0", "| 1", "| mean ± sd"]
    metrics = [json.loads(file.read_text()) for file in sorted(Path("runs").glob("*/fold_*/metrics_val.json"))]
    assert len(metrics) == 2
    assert f"| {np.mean([values['miou'] for values in metrics]):.3f} ± " in lines[-1]


def test_undefined_metrics_of_a_fold_are_excluded_from_the_mean():
    lines = folds.metrics_table([{"map": 0.5, "ap": None}, {"map": 0.7, "ap": 0.25}])
    assert lines[2:] == ["| 0 | 0.500 | – |", "| 1 | 0.700 | 0.250 |", "| mean ± sd | 0.600 ± 0.141 | 0.250 |"]


def table(names, groups, classes=("a", "b")):
    number = len(names)
    labels = np.arange(number) % 2
    return EvaluatedTable(tuple(classes), np.array(names), np.array(groups), labels, np.full((number, 2), 0.5))


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (table(["w", "x"], ["3", "4"]), "'x' of the names is in two folds"),
        (table(["y", "z"], ["2", "3"]), "'2' of the groups is in two folds"),
        (table(["y", "z"], ["3", "4"], ("a", "c")), "different classes"),
    ],
)
def test_folds_of_different_splits_are_not_pooled(second, message):
    with pytest.raises(ValueError, match=message):
        folds.pool_folds([table(["w0", "x"], ["1", "2"]), second])


def test_a_missing_configuration_is_a_usage_error(capsys):
    assert folds.main(["--folds", "3"]) == 2
    assert "give one with -c" in capsys.readouterr().err


def test_scores_are_weighted_by_the_counts_of_a_resample():
    probs = np.array([[0.9, 0.1], [0.4, 0.6], [0.7, 0.3], [0.2, 0.8]])
    labels = np.array([0, 1, 1, 1])
    names = np.array(list("abcd"))
    score = folds.make_scorer(EvaluatedTable(("x", "y"), names, names, labels, probs))
    assert score(np.ones(4, int)) == {"accuracy": 0.75, "AUROC": 1.0}
    assert score(np.array([0, 1, 1, 0])) == pytest.approx({"accuracy": 0.5, "AUROC": float("nan")}, nan_ok=True)

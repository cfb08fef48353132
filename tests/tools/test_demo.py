from pathlib import Path

import pytest

from vertebra.tools import demo
from vertebra.tools.samples import detection as samples
from vertebra.tools.samples import generation, video

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture
def few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    write = samples.write_detection_samples
    monkeypatch.setattr(samples, "write_detection_samples", lambda root: write(root, train=8, val=3, size=(64, 80)))


def test_the_demo_trains_and_prints_the_path_of_the_report(few_samples, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flags = ["--trainer.max_epochs", "1", "--data.num_workers", "0", "--data.resize.short", "[64]"]
    flags += ["--model.network.backbone", "timm:test_resnet", "--model.network.channels", "16"]
    for _ in range(2):  # the second run replaces the first
        assert demo.main(["detection", "--name", "shapes", *flags]) == 0
        report = Path("runs/shapes/report.html")
        assert str(report) in capsys.readouterr().out
        assert "AP50" in report.read_text()


def test_a_run_that_is_not_a_demo_is_not_overwritten(tmp_path, capsys):
    (tmp_path / "checkpoints").mkdir()
    assert demo.main(["detection", "--output", str(tmp_path)]) == 1
    assert "holds a run that is not a demo" in capsys.readouterr().err
    assert (tmp_path / "checkpoints").is_dir()


@pytest.mark.parametrize(
    ("flags", "folder"),
    [((), "runs/demo_video"), (("--name", "clips"), "runs/clips"), (("--output", "here/clips"), "here/clips")],
)
def test_the_run_and_its_data_are_in_one_folder(flags, folder, tmp_path, monkeypatch):
    written, trained = [], []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(video, "write_video_samples", written.append)
    monkeypatch.setattr(demo.fit, "main", lambda argv: trained.append(argv) or 2)
    assert demo.main(["video", *flags]) == 2
    assert written == [Path(folder, "data")]
    assert trained[0][3:7] == ["--data.root", f"{folder}/data", "--trainer.default_root_dir", folder]


@pytest.mark.parametrize("code", [0, 1])
def test_a_judge_is_trained_before_the_generator_it_is_given_to(code, tmp_path, monkeypatch):
    trained: list[list[str]] = []
    monkeypatch.setattr(generation, "write_generation_samples", lambda root: None)
    monkeypatch.setattr(demo.fit, "main", lambda argv: trained.append(argv) or code)
    assert demo.main(["generation", "--output", str(tmp_path), "--seed", "1"]) == code
    judge, *generators = trained
    assert judge[:3] == ["fit", "-c", "generation/demo_judge.yaml"]
    assert judge[-2:] == ["--trainer.default_root_dir", str(tmp_path / "judge")]  # flags are for the generator
    if code:
        assert not generators
    else:
        (generator,) = generators
        assert generator[:3] == ["fit", "-c", "generation/demo.yaml"]
        assert generator[-4:] == ["--model.judge", str(tmp_path / "judge"), "--seed", "1"]

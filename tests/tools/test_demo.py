from pathlib import Path

import pytest

from vertebra.tools import demo
from vertebra.tools.samples import detection as samples


@pytest.fixture
def few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    write = samples.write_detection_samples
    monkeypatch.setattr(samples, "write_detection_samples", lambda root: write(root, train=8, val=3, size=(64, 80)))


def test_the_demo_trains_and_prints_the_path_of_the_report(few_samples, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flags = ["--trainer.max_epochs", "1", "--data.num_workers", "0", "--data.resize.short", "[64]"]
    flags += ["--model.network.backbone", "timm:test_resnet", "--model.network.channels", "16"]
    for _ in range(2):  # the second run replaces the first
        assert demo.main(["detection", *flags]) == 0
        report = Path("runs/demo_detection/report.html")
        assert str(report) in capsys.readouterr().out
        assert "AP50" in report.read_text()


def test_a_run_that_is_not_a_demo_is_not_overwritten(tmp_path, capsys):
    (tmp_path / "checkpoints").mkdir()
    assert demo.main(["detection", "--output", str(tmp_path)]) == 1
    assert "holds a run that is not a demo" in capsys.readouterr().err
    assert (tmp_path / "checkpoints").is_dir()

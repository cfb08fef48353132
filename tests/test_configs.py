"""Every run recipe goes through the command line for a step of each kind, on generated data."""

from pathlib import Path

import pytest

from tools import train

CONFIGS = Path(__file__).parents[1] / "configs"


@pytest.mark.parametrize(
    "config", [str(file.relative_to(CONFIGS)) for file in sorted(CONFIGS.glob("detection/*.yaml"))]
)
def test_detection_recipe_runs(
    config: str, detection_samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = {
        "data.root": detection_samples,
        "data.train.annotations": "annotations/train.json",
        "data.train.images": "images/train",
        "data.val.annotations": "annotations/val.json",
        "data.val.images": "images/val",
        "data.resize.short": "[64]",
        "data.batch_size": 2,
        "data.num_workers": 0,
        "trainer.fast_dev_run": 1,
        "trainer.accelerator": "cpu",
    }
    args = [part for name, value in flags.items() for part in (f"--{name}", str(value))]
    assert train.main(["fit", "-c", config, *args]) == 0
    assert not list(tmp_path.iterdir())  # a trial run leaves nothing behind

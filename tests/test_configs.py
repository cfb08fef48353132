"""Every run recipe goes through the command line for a step of each kind, on generated data."""

from pathlib import Path

import numpy as np
import pytest
import torch

from vertebra.backbones import create_backbone
from vertebra.backbones.necks import PAFPN, BiFPN
from vertebra.tasks.detection import DetectionModule
from vertebra.tools import train

CONFIGS = Path(__file__).parents[1] / "configs"


def detection_flags(detection_samples: Path) -> list[str]:
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
    return [part for name, value in flags.items() for part in (f"--{name}", str(value))]


@pytest.mark.parametrize(
    "config", [str(file.relative_to(CONFIGS)) for file in sorted(CONFIGS.glob("detection/*.yaml"))]
)
def test_detection_recipe_runs(
    config: str, detection_samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert train.main(["fit", "-c", config, *detection_flags(detection_samples)]) == 0
    assert not list(tmp_path.iterdir())  # a trial run leaves nothing behind


@pytest.mark.parametrize("neck", ["pafpn", "bifpn"])
def test_one_word_changes_the_neck(
    neck: str, detection_samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    seen = []
    monkeypatch.setattr(DetectionModule, "on_fit_end", lambda module: seen.append(type(module.network.neck)))
    flags = [*detection_flags(detection_samples), "--model.network.neck", neck, "--model.network.channels", "16"]
    assert train.main(["fit", "-c", "detection/demo.yaml", *flags]) == 0
    assert seen == [{"pafpn": PAFPN, "bifpn": BiFPN}[neck]]


@pytest.mark.parametrize(
    "config", [str(file.relative_to(CONFIGS)) for file in sorted(CONFIGS.glob("classification/*.yaml"))]
)
def test_classification_recipe_runs(
    config: str,
    classification_samples: Path,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = {
        "data.root": classification_samples,
        "data.val": "val",
        "data.resize.size": "[32, 32]",
        "data.batch_size": 4,
        "data.num_workers": 0,
        "trainer.fast_dev_run": 1,
        "trainer.accelerator": "cpu",
    }
    if "weights: pretrained" in (CONFIGS / config).read_text():  # the published ones are not on every machine
        torch.save(create_backbone("resnet18").state_dict(), weights := tmp_path_factory.mktemp("weights") / "r.pth")
        flags |= {"model.network.backbone": "resnet18", "model.network.weights": weights}
    args = [part for name, value in flags.items() for part in (f"--{name}", str(value))]
    assert train.main(["fit", "-c", config, *args]) == 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "config", [str(file.relative_to(CONFIGS)) for file in sorted(CONFIGS.glob("segmentation/*.yaml"))]
)
def test_segmentation_recipe_runs(
    config: str,
    segmentation_samples: Path,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = {
        "data.root": segmentation_samples,
        "data.crop.size": "[48, 64]",
        "data.batch_size": 2,
        "data.num_workers": 0,
        "trainer.fast_dev_run": 1,
        "trainer.accelerator": "cpu",
    }
    if "weights: pretrained" in (CONFIGS / config).read_text():  # the published ones are not on every machine
        torch.save(create_backbone("resnet18").state_dict(), weights := tmp_path_factory.mktemp("weights") / "r.pth")
        flags |= {"model.network.backbone": "resnet18", "model.network.weights": weights}
    args = [part for name, value in flags.items() for part in (f"--{name}", str(value))]
    assert train.main(["fit", "-c", config, *args]) == 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("config", [str(file.relative_to(CONFIGS)) for file in sorted(CONFIGS.glob("video/*.yaml"))])
def test_video_recipe_runs(config: str, video_samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    flags = {
        "data.root": video_samples,
        "data.train": "train",
        "data.resize.size": "[24, 24]",
        "data.sampling.frames": 4,
        "data.augment": "[]",
        "data.group": "null",
        "data.batch_size": 2,
        "data.num_workers": 0,
        "trainer.fast_dev_run": 1,
        "trainer.accelerator": "cpu",
    }
    args = [part for name, value in flags.items() for part in (f"--{name}", str(value))]
    assert train.main(["fit", "-c", config, *args]) == 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("config", [str(file.relative_to(CONFIGS)) for file in sorted(CONFIGS.glob("medical/*.yaml"))])
def test_medical_recipe_runs(
    config: str, medical_samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = {"root": medical_samples, "train": "train.csv", "val": "val.csv", "columns.patient": "patient"}
    size = {"resample.size": "[20, 20, 20]"}
    if "pneumonia" in config:  # images
        rng = np.random.default_rng(0)
        arrays = {f"{split}_images": rng.integers(0, 256, (8, 20, 20), dtype=np.uint8) for split in ("train", "val")}
        labels = {f"{split}_labels": np.arange(8, dtype=np.uint8)[:, None] % 2 for split in ("train", "val")}
        np.savez(tmp_path / "images.npz", **arrays, **labels)
        data, size = {"root": tmp_path / "images.npz"}, {"resample.size": "[20, 20]"}
    flags = {
        **{f"data.{name}": value for name, value in {**data, **size}.items()},
        "data.test": "null",
        "data.batch_size": 2,
        "data.num_workers": 0,
        "trainer.fast_dev_run": 1,
        "trainer.accelerator": "cpu",
    }
    args = [part for name, value in flags.items() for part in (f"--{name}", str(value))]
    before = set(tmp_path.iterdir())
    assert train.main(["fit", "-c", config, *args]) == 0
    assert set(tmp_path.iterdir()) == before

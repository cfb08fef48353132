"""Tiny trained runs of every task, made once."""

from pathlib import Path

import pytest

from vertebra.tasks.reporting import charts
from vertebra.tools import main, train

NETWORKS = {
    "classification": "{class_path: vertebra.tasks.classification.ImageClassifier, init_args: {backbone: resnet20}}",
    "detection": """
        class_path: vertebra.tasks.detection.FasterRCNN
        init_args:
          {backbone: "timm:test_resnet", channels: 16, rois_per_image: 8, detections: {score_threshold: 0.0},
           proposals: {per_level: 20, per_image: 20, per_level_eval: 20, per_image_eval: 20}}""",
    "segmentation": """
        class_path: vertebra.tasks.segmentation.DeepLabV3Plus
        init_args: {backbone: "timm:test_resnet", channels: 8}""",
    "video": '{class_path: vertebra.tasks.video.VideoClassifier, init_args: {backbone: "tsn:timm:test_resnet"}}',
    "medical": "{class_path: vertebra.tasks.medical.SliceClassifier, init_args: {backbone: resnet20}}",
}
DATA = {
    "classification": "{resize: {size: [24, 24], crop: 1.0}, batch_size: 10",
    "detection": "{train: {annotations: annotations/train.json}, val: {annotations: annotations/val.json}, "
    "resize: {short: [64], longest: 80}, batch_size: 2",
    "segmentation": "{train: {images: images/train, masks: masks/train}, val: {images: images/val, masks: masks/val}, "
    "crop: {size: [32, 32]}, batch_size: 2",
    "video": "{sampling: {class_path: vertebra.tasks.video.sampling.Dense, init_args: {frames: 4, stride: 2}}, "
    "resize: {size: [24, 24]}, batch_size: 4",
    "medical": "{train: train.csv, val: val.csv, columns: {patient: patient}, resample: {size: [12, 12, 12]}, "
    "batch_size: 4",
}
NAMES = {name: f"{name.capitalize()}Module" for name in NETWORKS}
VALIDATION = dict.fromkeys(NETWORKS, "val") | {
    "detection": "images/val",
    "segmentation": "images/val",
    "medical": "volumes/val",
}


def config(task: str) -> str:
    return f"""
model:
  class_path: vertebra.tasks.{task}.{NAMES[task]}
  init_args:
    network: {NETWORKS[task]}
data:
  class_path: vertebra.tasks.{task}.{task.capitalize()}Data
  init_args: {DATA[task]}, num_workers: 0}}
trainer:
  {{accelerator: cpu, precision: 32-true, max_epochs: 1, limit_train_batches: 2, logger: false,
   enable_progress_bar: false, enable_model_summary: false}}
"""


@pytest.fixture(scope="session")
def trained(made_once, request):
    """A function that returns the run folder of a task, trained for two steps, and its data set."""

    def run(task: str) -> tuple[Path, Path]:
        root = request.getfixturevalue(f"{task}_samples")

        def fit(folder: Path) -> None:
            folder.mkdir(parents=True)
            (folder / "tiny.yaml").write_text(config(task))
            flags = ["--data.root", str(root), "--trainer.default_root_dir", str(folder / "run")]
            assert train.main(["fit", "-c", str(folder / "tiny.yaml"), *flags]) == 0

        return made_once(f"loaded_{task}", fit) / "run", root / VALIDATION[task]

    return run


@pytest.fixture(scope="session")
def exported(made_once, trained):
    """A function that returns the ONNX file of a tiny run."""

    def export(task: str, *flags: str) -> Path:
        run, _ = trained(task)

        def write(folder: Path) -> None:
            assert main.main(["export", str(run), "--output", str(folder / "model.onnx"), *flags]) == 0

        return made_once(f"exported_{task}{''.join(flags)}", write) / "model.onnx"

    return export


@pytest.fixture
def undrawn(monkeypatch):
    """Reports of the runs within a test have empty charts, which take as long to draw as the run to train.

    The runs of fixtures, which are of every task, have drawn ones: the fixtures of modules and sessions come first.
    """
    monkeypatch.setattr(charts, "_fill", lambda figure: figure)
    monkeypatch.setattr(charts, "svg_text", lambda figure: '<svg viewBox="0 0 1 1"></svg>')

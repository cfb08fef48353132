from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer

from tools.samples.classification import write_classification_samples
from tools.samples.detection import write_detection_samples
from tools.samples.medical import write_medical_samples
from tools.samples.segmentation import write_segmentation_samples
from tools.samples.video import write_video_samples

torch.set_num_threads(1)  # tiny tensors; more threads only wait for each other on a busy machine


@pytest.fixture(scope="session")
def detection_samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny COCO data set: 10 training and 5 validation images."""
    root = tmp_path_factory.mktemp("detection")
    write_detection_samples(root, train=10, val=5, size=(64, 80), max_objects=3)
    return root


@pytest.fixture(scope="session")
def classification_samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny folder-per-class data set: 20 training and 13 validation images of ten textures."""
    root = tmp_path_factory.mktemp("classification")
    write_classification_samples(root, train=20, val=13)
    return root


@pytest.fixture(scope="session")
def segmentation_samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny data set of masks: 8 training and 5 validation images of 64 x 80 pixels, six classes."""
    root = tmp_path_factory.mktemp("segmentation")
    write_segmentation_samples(root, train=8, val=5, size=(64, 80))
    return root


@pytest.fixture(scope="session")
def video_samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny folder-per-class data set: 18 training and 9 validation videos of nine motions."""
    root = tmp_path_factory.mktemp("video")
    write_video_samples(root, train=18, val=9, size=32, frames=12)
    return root


@pytest.fixture(scope="session")
def medical_samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny list of volumes: 24 training and 12 validation volumes of several patients, one in six with a nodule."""
    root = tmp_path_factory.mktemp("medical")
    write_medical_samples(root, train=24, val=12, size=20)
    return root


@pytest.fixture
def make_trainer(tmp_path: Path) -> Callable[[int], Trainer]:
    """A silent trainer of so many CPU processes, which share samples as the data modules say."""

    def make(processes: int) -> Trainer:
        return Trainer(
            accelerator="cpu",
            devices=processes,
            strategy="ddp_spawn" if processes > 1 else "auto",
            use_distributed_sampler=False,
            max_epochs=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tmp_path,
        )

    return make

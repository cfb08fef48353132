from collections.abc import Callable
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy

from vertebra.tools.samples.classification import write_classification_samples
from vertebra.tools.samples.detection import write_detection_samples
from vertebra.tools.samples.instances import write_instance_samples
from vertebra.tools.samples.medical import write_medical_samples
from vertebra.tools.samples.segmentation import write_segmentation_samples
from vertebra.tools.samples.video import write_video_samples

torch.set_num_threads(1)  # tiny tensors; more threads only wait for each other on a busy machine

# the processes of `make_trainer` are forked from one that has imported these, which takes seconds
get_context("forkserver").set_forkserver_preload(
    [f"vertebra.tasks.{task}" for task in ("classification", "detection", "medical", "segmentation", "video")]
)


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Callable[..., Path]:
    """A function that returns a folder, written by whichever test process first asks for it."""
    base = tmp_path_factory.getbasetemp()
    if hasattr(request.config, "workerinput"):  # pytest-xdist: the workers' own folders are below a common one
        base = base.parent

    def make(name: str, write: Callable[[Path], object]) -> Path:
        folder = base / name
        with FileLock(base / f"{name}.lock"):
            if not folder.exists():
                write(draft := base / f"{name}.draft")
                draft.rename(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def detection_samples(made_once: Callable[..., Path]) -> Path:
    """A tiny COCO data set: 10 training and 5 validation images."""
    return made_once("detection", partial(write_detection_samples, train=10, val=5, size=(64, 80), max_objects=3))


@pytest.fixture(scope="session")
def instance_samples(made_once: Callable[..., Path]) -> Path:
    """A tiny COCO data set with masks: 10 training and 5 validation images of 64 x 80 pixels."""
    return made_once("instances", partial(write_instance_samples, train=10, val=5, size=(64, 80)))


@pytest.fixture(scope="session")
def classification_samples(made_once: Callable[..., Path]) -> Path:
    """A tiny folder-per-class data set: 20 training and 13 validation images of ten textures."""
    return made_once("classification", partial(write_classification_samples, train=20, val=13))


@pytest.fixture(scope="session")
def segmentation_samples(made_once: Callable[..., Path]) -> Path:
    """A tiny data set of masks: 8 training and 5 validation images of 64 x 80 pixels, six classes."""
    return made_once("segmentation", partial(write_segmentation_samples, train=8, val=5, size=(64, 80)))


@pytest.fixture(scope="session")
def video_samples(made_once: Callable[..., Path]) -> Path:
    """A tiny folder-per-class data set: 18 training and 9 validation videos of nine motions."""
    return made_once("video", partial(write_video_samples, train=18, val=9, size=32, frames=12))


@pytest.fixture(scope="session")
def medical_samples(made_once: Callable[..., Path]) -> Path:
    """A tiny list of volumes: 24 training and 12 validation volumes of several patients, one in six with a nodule."""
    return made_once("medical", partial(write_medical_samples, train=24, val=12, size=20))


@pytest.fixture
def make_trainer(tmp_path: Path) -> Callable[[int], Trainer]:
    """A silent trainer of so many CPU processes, which share samples as the data modules say."""

    def make(processes: int) -> Trainer:
        return Trainer(
            accelerator="cpu",
            devices=processes,
            strategy=DDPStrategy(start_method="forkserver") if processes > 1 else "auto",
            use_distributed_sampler=False,
            max_epochs=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tmp_path,
        )

    return make

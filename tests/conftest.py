"""Fixtures of all tests; torch is imported on demand, since the process that starts the test processes runs no test."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock

from vertebra.tools import demo

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer
    from torch import Tensor


def pytest_collection_finish() -> None:
    """Keep what the libraries have made out of garbage collection, a tenth of the time of all tests."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _processes_and_threads() -> None:
    import torch

    torch.set_num_threads(1)  # tiny tensors; more threads only wait for each other on a busy machine
    # the processes of `make_trainer` are forked from one that has imported these, which takes seconds; a task's package
    # itself imports nothing before its first use
    tasks = ("classification", "detection", "medical", "segmentation", "video")
    get_context("forkserver").set_forkserver_preload([f"vertebra.tasks.{task}.public" for task in tasks])


@pytest.fixture(scope="session", autouse=True)
def _quick_draws() -> Iterator[None]:
    """Fill large tensors with copies of a block of draws: initial weights were an eighth of the time of all tests.

    The number of draws is prime, so that no two filters of a layer are equal.
    """
    import torch

    with pytest.MonkeyPatch.context() as patch:
        for name in ("normal_", "uniform_"):
            patch.setattr(torch.Tensor, name, _block_wise(getattr(torch.Tensor, name)))
        yield


def _block_wise(draw: Callable[..., Tensor], size: int = 65537) -> Callable[..., Tensor]:
    def filled(tensor: Tensor, *args: Any, **options: Any) -> Tensor:
        if tensor.is_meta:  # has no values, and draws them slowly
            return tensor
        if tensor.numel() <= size or not tensor.is_contiguous():
            return draw(tensor, *args, **options)
        block = draw(tensor.new_empty(size), *args, **options)
        for part in tensor.view(-1).split(size):
            part.copy_(block[: len(part)])
        return tensor

    return filled


def generated(name: str, **options: Any) -> Callable[[Path], None]:
    """Return a function that writes a data set of `vertebra demo` to a folder."""

    def write(folder: Path) -> None:
        samples = import_module(f"vertebra.tools.samples.{name}")
        getattr(samples, demo.TASKS[name])(folder, **options)

    return write


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
    return made_once("detection", generated("detection", train=10, val=5, size=(64, 80), max_objects=3))


@pytest.fixture(scope="session")
def instance_samples(made_once: Callable[..., Path]) -> Path:
    """A tiny COCO data set with masks: 10 training and 5 validation images of 64 x 80 pixels."""
    return made_once("instances", generated("instances", train=10, val=5, size=(64, 80)))


@pytest.fixture(scope="session")
def classification_samples(made_once: Callable[..., Path]) -> Path:
    """A tiny folder-per-class data set: 20 training and 13 validation images of ten textures."""
    return made_once("classification", generated("classification", train=20, val=13))


@pytest.fixture(scope="session")
def segmentation_samples(made_once: Callable[..., Path]) -> Path:
    """A tiny data set of masks: 8 training and 5 validation images of 64 x 80 pixels, six classes."""
    return made_once("segmentation", generated("segmentation", train=8, val=5, size=(64, 80)))


@pytest.fixture(scope="session")
def video_samples(made_once: Callable[..., Path]) -> Path:
    """A tiny folder-per-class data set: 18 training and 9 validation videos of nine motions."""
    return made_once("video", generated("video", train=18, val=9, size=32, frames=12))


@pytest.fixture(scope="session")
def medical_samples(made_once: Callable[..., Path]) -> Path:
    """A tiny list of volumes: 24 training and 12 validation volumes of several patients, one in six with a nodule."""
    return made_once("medical", generated("medical", train=24, val=12, size=20))


def own_weights(trainer: Trainer, module: LightningModule, stage: str) -> None:
    """Copy the weights, which forked servers share between processes: each step would be taken by all of them."""
    for x in (*module.parameters(), *module.buffers()):
        x.data = x.data.clone()


@pytest.fixture
def make_trainer(tmp_path: Path) -> Callable[[int], Trainer]:
    """A silent trainer of so many CPU processes, which share samples as the data modules say."""

    from lightning.pytorch import Trainer
    from lightning.pytorch.callbacks import LambdaCallback
    from lightning.pytorch.strategies import DDPStrategy

    def make(processes: int) -> Trainer:
        return Trainer(
            callbacks=[LambdaCallback(setup=own_weights)],
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

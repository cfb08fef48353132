"""Replay file of a non-finite training step: its samples with their random draws, and the weights before it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from vertebra.tasks.loading.files.faults import UnreadableFile
from vertebra.tasks.loading.files.whole_file import draft_of
from vertebra.tasks.loading.resumable_loader import ResumableLoader
from vertebra.tasks.loading.samplers import SampleRequest
from vertebra.tasks.training.divergence.watch import ReadBatch

NAME = "diverged.pt"


@dataclass(frozen=True)
class Replay:
    """Training batch for exact replay.

    Each draw determines all random choices of a sample, so that the data set returns the same pixels.

    Attributes:
        step: number of optimizer steps before it.
        epoch: epoch, from 0.
        batch: index in the epoch, from 0.
        rank: rank of the process.
        files: files of the samples.
        draws: draws of the samples.
        values: recorded losses and, if the batch completed a step, maximum absolute gradient.
        state_dict: state dict of the module before the step.
    """

    step: int
    epoch: int
    batch: int
    rank: int
    files: list[str]
    draws: list[SampleRequest]
    values: dict[str, float]
    state_dict: dict[str, Tensor]


def write_replay(read: ReadBatch, trainer: Trainer, module: Any) -> Path | None:
    """Write the replay file of a batch to the trainer's `default_root_dir`.

    Returns:
        Path of the file, or None with `fast_dev_run` or a loader other than `ResumableLoader`.
    """
    loader = trainer.train_dataloader
    if getattr(trainer, "fast_dev_run", False) or not isinstance(loader, ResumableLoader):
        return None
    watched = read.watched
    draws = loader.batch_sampler.batches_of(watched.epoch)[watched.batch]
    state = {name: x.detach().cpu() for name, x in module.state_dict().items()}
    position = (watched.step, watched.epoch, watched.batch, trainer.global_rank)
    replay = Replay(*position, watched.files, [], read.values, state)
    # draws as lists: `weights_only=True` loads no classes
    content = {**vars(replay), "draws": [list(draw) for draw in draws]}
    file = Path(trainer.default_root_dir) / NAME
    try:
        with draft_of(file) as draft:
            torch.save(content, draft)
    except OSError as error:  # only a warning, to not hide the divergence error that ends the run
        warnings.warn(f"{file}: the replay file cannot be written ({error}).", stacklevel=2)
        return None
    return file


def read_replay(file: Path) -> Replay:
    """Read a file of `write_replay`, without executing code from it.

    Raises:
        FileNotFoundError: the file does not exist.
        UnreadableFile: the file is no replay file.
    """
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist; give the {NAME} that a diverged run left in its folder.")
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
        content["draws"] = [SampleRequest(*draw) for draw in content["draws"]]
        return Replay(**content)
    except Exception as error:  # the exception of torch.load depends on which byte is wrong
        raise UnreadableFile(
            f"{file} is not the {NAME} of a diverged run ({type(error).__name__}: {error!s:.200}); give that file."
        ) from error

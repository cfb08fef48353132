"""The file of a training step that was not finite: which samples it drew, and the weights that it started from."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from vertebra.tasks.loading.data import ResumableLoader
from vertebra.tasks.loading.files.faults import UnreadableFile
from vertebra.tasks.loading.samplers import SampleRequest
from vertebra.tasks.training.divergence.watch import ReadBatch

NAME = "diverged.pt"


@dataclass(frozen=True)
class Replay:
    """One batch of training.

    A draw says all that chance decides about a sample, so that the data set gives the same pixels again.

    Attributes:
        step: optimizer steps before it.
        epoch: from 0.
        batch: in the epoch, from 0.
        rank: of the process that it belongs to.
        files: of its samples.
        draws: of its samples.
        values: its losses and, where it ended a step, its largest gradient, as they were seen.
        state_dict: of the module.
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
    """Write a batch below the trainer's `default_root_dir`.

    Returns:
        The file, or None in a trial run, or where another loader than ours gave the batch.
    """
    loader = trainer.train_dataloader
    if getattr(trainer, "fast_dev_run", False) or not isinstance(loader, ResumableLoader):
        return None
    watched = read.watched
    draws = loader.batch_sampler.batches_of(watched.epoch)[watched.batch]
    state = {name: x.detach().cpu() for name, x in module.state_dict().items()}
    place = (watched.step, watched.epoch, watched.batch, trainer.global_rank)
    content = {**vars(Replay(*place, watched.files, [], read.values, state)), "draws": [list(draw) for draw in draws]}
    file = Path(trainer.default_root_dir) / NAME
    try:
        torch.save(content, file)
    except OSError as error:  # the run stops in any case, and for the reason that is more important
        warnings.warn(f"{file}: the batch cannot be written ({error}).", stacklevel=2)
        return None
    return file


def read_replay(file: Path) -> Replay:
    """Read what `write_replay` wrote; reading it runs no code.

    Raises:
        FileNotFoundError: there is no such file.
        UnreadableFile: it holds something else.
    """
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist; give the {NAME} that a diverged run left in its folder.")
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
        content["draws"] = [SampleRequest(*draw) for draw in content["draws"]]
        return Replay(**content)
    except Exception as error:  # what torch.load raises depends on which byte is wrong
        raise UnreadableFile(
            f"{file} is not the {NAME} of a diverged run ({type(error).__name__}: {error!s:.200}); give that file."
        ) from error

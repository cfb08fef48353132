"""Largest batch size that fits into the memory of the device, found by training steps on the costliest batch."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.seed import isolate_rng
from torch import nn

from vertebra.tasks.loading.data import TaskData
from vertebra.tasks.training.auto_rate import AutoRate
from vertebra.tasks.training.module import TaskModule
from vertebra.tasks.training.parameter_groups import parameter_groups

LARGEST = 4096
HEADROOM = 0.9  # of the memory of a GPU: the allocator fragments it in a long run
CPU_SHARE = 0.5  # of the free memory: loader processes and the validation need some, too


class AutoBatch(Callback):
    """Callback that sets the batch size before a training begins.

    On a GPU the size is the largest with which a step fits: forward, backward, optimizer and, with weight averaging, a
    second copy of the weights, on a batch of the costliest training samples, see `TaskData.costliest_batch`. A CPU is
    no faster with larger batches, so there it is the configured size, or the largest that fits into half of the free
    memory if that is smaller. On several devices it is the smallest of theirs. A resumed run keeps its size, since
    another one would be another training. Weights and random numbers are not changed.

    Attributes:
        batch_size: that was found, None before.
    """

    def __init__(self) -> None:
        self.batch_size: int | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        data = getattr(trainer, "datamodule", None)
        if stage != "fit" or not isinstance(data, TaskData) or not isinstance(pl_module, TaskModule):
            return
        if trainer.ckpt_path is not None:
            self.batch_size = _batch_size_of(Path(trainer.ckpt_path), self.state_key)
        if self.batch_size is None:
            found = self._find(trainer, pl_module, data)
            device = trainer.strategy.root_device
            smallest: Any = trainer.strategy.reduce(torch.tensor(float(found), device=device), reduce_op="min")
            self.batch_size = int(smallest)
        is_scaled = any(isinstance(callback, AutoRate) for callback in getattr(trainer, "callbacks", ()))
        advice = "" if is_scaled or self.batch_size == data.batch_size else "; --lr auto scales its learning rate"
        rank_zero_info(f"batch size {self.batch_size}; that of the recipe is {data.batch_size}{advice}")
        data.batch_size = self.batch_size

    def state_dict(self) -> dict[str, Any]:
        return {"batch_size": self.batch_size}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.batch_size = state_dict["batch_size"]

    def _find(self, trainer: Trainer, module: TaskModule, data: TaskData) -> int:
        device = trainer.strategy.root_device
        most = min(LARGEST, len(data.dataset(data.records("train"), True, data.missing)))
        averages = any(isinstance(callback, WeightAveraging) for callback in getattr(trainer, "callbacks", ()))
        with isolate_rng(), _trial(module, device) as step:
            step.averages = averages
            step.precision = trainer.precision_plugin
            if device.type == "cuda":
                return largest(lambda size: _fits(step, data, size, device), most)
            # two samples: batch norm cannot train on one
            needed = max(1, step.saved_bytes(data.costliest_batch(2)) // 2)
        weights = 4 * sum(parameter.nbytes for parameter in module.parameters())  # gradients and optimizer
        room = int((available_memory() - weights) * CPU_SHARE) // needed
        return max(1, min(data.batch_size, room, most))


def largest(fits: Callable[[int], bool], most: int) -> int:
    """Return the largest size that fits, up to an eighth of it: doubled until it does not fit, then refined.

    Args:
        fits: whether a size does.
        most: upper limit.

    Raises:
        ValueError: not even the smallest fits.
    """
    good, size = 0, min(2, most)  # batch norm cannot train on one sample
    while size <= most and fits(size):
        good, size = size, size * 2
    if not good:
        raise ValueError("not even a batch of 2 fits into the memory of the device; give a smaller --size.")
    bad = min(size, most + 1)
    while bad - good > max(1, good // 8):
        middle = (good + bad) // 2
        good, bad = (middle, bad) if fits(middle) else (good, middle)
    return good


def available_memory() -> int:
    """Return the free memory of this machine in bytes, on Linux with what the system gives back on demand."""
    file = Path("/proc/meminfo")
    if file.is_file():
        values = dict(line.split(":") for line in file.read_text().splitlines() if ":" in line)
        return int(values["MemAvailable"].split()[0]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


class _Step:
    """A training step of a module, whose weights are thrown away.

    Attributes:
        averages: whether a second copy of the weights is kept.
        precision: Lightning's plugin for the precision of the run.
    """

    averages = False
    precision: Any

    def __init__(self, module: TaskModule, device: torch.device) -> None:
        self.module, self.device = module, device
        self.optimizer: Any = None
        self.average: nn.Module | None = None

    def run(self, batch: Any) -> None:
        """Take the step."""
        module = self.module
        if self.optimizer is None:
            self.optimizer = module.make_optimizer(parameter_groups(module.network, None))
            self.average = deepcopy(module.network) if self.averages else None
        batch = module.transfer_batch_to_device(batch, self.device, 0)
        with self.precision.forward_context():
            loss: Any = module.training_step(batch, 0)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def saved_bytes(self, batch: Any) -> int:
        """Return the memory of what a step keeps for its backward pass."""
        sizes: dict[int, int] = {}
        own = {parameter.data_ptr() for parameter in self.module.parameters()}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            self.run(batch)
        return sum(sizes.values())


@contextmanager
def _trial(module: TaskModule, device: torch.device) -> Iterator[_Step]:
    """Give a module a copy of its network on a device, and silence its logs."""
    network = module.network
    module.network = deepcopy(network)
    module.to(device).train()
    names = ("log", "log_dict")
    vars(module).update(dict.fromkeys(names, lambda *args, **options: None))
    try:
        yield _Step(module, device)
    finally:
        for name in names:
            del vars(module)[name]
        module.network = network
        module.cpu()
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()


def _fits(step: _Step, data: TaskData, size: int, device: torch.device) -> bool:
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    free, total = torch.cuda.mem_get_info(device)
    others = total - free - torch.cuda.memory_reserved(device)  # the driver, and other processes
    try:
        step.run(data.costliest_batch(size))
    except torch.OutOfMemoryError:
        step.optimizer.zero_grad()
        return False
    return torch.cuda.max_memory_reserved(device) + others <= HEADROOM * total


def _batch_size_of(checkpoint: Path, key: str) -> int | None:
    content = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
    return content.get("callbacks", {}).get(key, {}).get("batch_size")

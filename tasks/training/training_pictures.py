"""Picture of the first training samples as the network sees them, augmented and mixed, with their labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from PIL import Image
from torch import Tensor

from vertebra.tasks.loading.files.whole_file import draft_of
from vertebra.tasks.reporting.captions import contact_sheet, enlarged
from vertebra.tasks.reporting.report import Picture
from vertebra.tasks.training.module import TaskModule
from vertebra.tasks.training.normalize import Normalize

FILE = "training_samples.jpg"  # in the run folder
_NUM_SAMPLES, _NUM_BATCHES = 16, 4  # from so many batches at most
_WIDTH = 240  # pixels of a sample in the sheet


class TrainingPictures(Callback):
    """Draws the first samples of a training into the run folder.

    They are copied from the device in the first few steps of the first epoch and never again.
    """

    def __init__(self) -> None:
        self._pictures: list[Picture] = []
        self._is_done = False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._pictures = []
        self._is_done = not trainer.is_global_zero or bool(getattr(trainer, "fast_dev_run", False))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._is_done or not isinstance(pl_module, TaskModule):
            return
        if trainer.current_epoch == 0 and batch_idx < _NUM_BATCHES:
            missing = _NUM_SAMPLES - len(self._pictures)
            self._pictures += pl_module.training_pictures(batch, missing)[:missing]
        is_last = batch_idx + 1 >= min(_NUM_BATCHES, trainer.num_training_batches)
        if trainer.current_epoch > 0 or is_last or len(self._pictures) == _NUM_SAMPLES:
            self._write(Path(trainer.default_root_dir))
            self._is_done = True

    def _write(self, folder: Path) -> None:
        shown = [(picture.image, picture.remark) for picture in self._pictures if picture.image is not None]
        if shown:
            sheet = contact_sheet([enlarged(image) for image, _ in shown], [remark for _, remark in shown], _WIDTH)
            with draft_of(folder / FILE) as draft:
                Image.fromarray(sheet).save(draft, quality=88)


def as_seen(images: Tensor, normalize: Normalize, count: int) -> list[np.ndarray]:
    """Return the first images of a normalized batch as pictures (H, W, 3) uint8 RGB.

    Args:
        images: (N, C, H, W) float, normalized.
        normalize: what it was normalized by.
        count: of pictures at most.
    """
    scale, shift = (part.float().cpu() for part in (normalize.scale, normalize.shift))
    pixels = ((images[:count].detach().float().cpu() - shift) / scale).round().clamp(0, 255).to(torch.uint8)
    # of more bands than a picture has, the first three; of fewer, gray
    shown = pixels[:, :3] if pixels.shape[1] >= 3 else pixels[:, :1].expand(-1, 3, -1, -1)
    return list(shown.permute(0, 2, 3, 1).contiguous().numpy())


def label_text(target: Tensor, class_names: Sequence[str]) -> str:
    """Return a label () as its class, and a mixed one (K,) as the fractions of its classes."""
    if target.dim() == 0:
        return class_names[int(target)]
    fractions, labels = target.float().topk(min(2, len(class_names)))
    parts = [(class_names[label], share) for label, share in zip(labels.tolist(), fractions.tolist(), strict=True)]
    return " + ".join(f"{name} {share:.0%}" for name, share in parts if share > 0)

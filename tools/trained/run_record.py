"""Record of a run: its configuration, in its folder and in every checkpoint, and what can be read as one."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.loggers import MLFlowLogger, WandbLogger

from vertebra.tasks.loading.files.whole_file import remove_drafts, write_whole
from vertebra.tasks.training.saving.checkpoint_files import AtomicCheckpointIO
from vertebra.tools.arguments.config_files import RECORD
from vertebra.tools.trained.checkpoint_config import parse_config
from vertebra.tools.trained.checkpoint_file import read_checkpoint
from vertebra.tools.trained.shared_entries import is_shared


class RunCheckpointIO(AtomicCheckpointIO):
    """Checkpoints on disk, and shared folders in their place for validation, test and prediction."""

    def load_checkpoint(self, path: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        if is_shared(Path(path)):
            return read_checkpoint(Path(path))
        return super().load_checkpoint(path, *args, **kwargs)


class RunRecord(SaveConfigCallback):
    """Saves the configuration to the run folder and, as text, to every checkpoint, which is then self-contained."""

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            folder = Path(trainer.default_root_dir)
            remove_drafts(folder)  # of a run that was killed and is resumed
            write_whole(folder / RECORD, self._text)
            for logger in trainer.loggers:
                if isinstance(logger, WandbLogger | MLFlowLogger):
                    logger.log_hyperparams(parse_config(self._text))

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["config"] = self._text

    @cached_property
    def _text(self) -> str:
        # once: jsonargparse takes a tenth of a second, and training waits in every save
        config = self.config.clone()
        # how this process began is no part of the run, which `validate` would read as the checkpoint to measure
        config.ckpt_path, config.save = None, False
        # a moved run has its checkpoints elsewhere, and another run trained by this file must not replace them
        if config.checkpoint.dirpath == str(Path(config.trainer.default_root_dir) / "checkpoints"):
            config.checkpoint.dirpath = None
        try:
            return self.parser.dump(config, skip_unset=False)
        except (TypeError, ValueError):  # the name before jsonargparse 4.49
            return self.parser.dump(config, skip_none=False)

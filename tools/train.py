"""`vertebra fit / validate / test`: one YAML is one run, and every constructor argument is a flag."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from pydoc import locate
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint, ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only

from tasks.data import TaskData
from tasks.module import TaskModule
from tasks.report_writer import ReportWriter
from tools.checkpoint_file import read_checkpoint
from tools.config_files import config_of, resolve_configs
from tools.errors import sentence
from tools.hardware import default_precision
from tools.progress import SeldomReadingBar
from tools.run_folder import check_writable

CHOSEN_BY_LIGHTNING = ("best", "last", "hpc")  # instead of a path


class VertebraCLI(LightningCLI):
    """LightningCLI with a run folder: checkpoints, logs, the configuration and the report stand in one place.

    Attributes:
        folder: of the latest run, for messages about errors that stop even its construction.
    """

    folder = ""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.link_arguments("data.class_names", "model.init_args.class_names", apply_on="instantiate")
        parser.link_arguments(
            "data.num_classes", "model.init_args.network.init_args.num_classes", apply_on="instantiate"
        )
        parser.add_lightning_class_args(ModelCheckpoint, "checkpoint")
        parser.set_defaults(
            {
                "checkpoint.filename": "best",
                "checkpoint.save_last": True,
                "checkpoint.enable_version_counter": False,
            }
        )

    def before_instantiate_classes(self) -> None:
        config = self.config[self.subcommand]
        run = Path(config.trainer.default_root_dir)
        VertebraCLI.folder = str(run)
        config.checkpoint.dirpath = config.checkpoint.dirpath or str(run / "checkpoints")
        if config.checkpoint.monitor is None:
            module: Any = locate(config.model.class_path)
            config.checkpoint.monitor, config.checkpoint.mode = module.monitor
        config.weights_only = True  # a checkpoint is data: reading it runs no code
        if config.trainer.fast_dev_run:
            config.checkpoint.save_last = False  # a trial leaves nothing behind; Lightning would write last.ckpt
        if not config.trainer.fast_dev_run:
            check_writable(run)
        best = Path(config.checkpoint.dirpath) / "best.ckpt"
        if self.subcommand == "fit":
            if config.ckpt_path is None and not config.trainer.fast_dev_run:
                _refuse_used(run)
        elif config.ckpt_path in (None, "best"):
            if not best.is_file():
                raise FileNotFoundError(
                    f"{best}: no such checkpoint, and untrained weights measure nothing; train first, or give "
                    "--ckpt_path FILE."
                )
            config.ckpt_path = str(best)
        if config.ckpt_path not in (None, *CHOSEN_BY_LIGHTNING):
            read_checkpoint(Path(config.ckpt_path), training=self.subcommand == "fit")

    def _parse_ckpt_path(self) -> None:
        """Leave the configuration as the user gave it: Lightning would take classes and arguments from a checkpoint."""

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        trainer = self._get(self.config_init, "trainer")
        if trainer.logger in (None, True) and self.subcommand == "fit" and not trainer.fast_dev_run:
            kwargs["logger"] = _loggers(Path(trainer.default_root_dir))
            trainer.callbacks = [*(trainer.callbacks or []), LearningRateMonitor()]
        elif trainer.logger in (None, True):
            kwargs["logger"] = False
        callbacks = trainer.callbacks or []
        if trainer.enable_progress_bar is not False and not any(isinstance(bar, ProgressBar) for bar in callbacks):
            trainer.callbacks = [*callbacks, SeldomReadingBar()]
        return super().instantiate_trainer(**kwargs)

    def after_fit(self) -> None:
        """Measure the best checkpoint, which writes the report."""
        checkpoint = self.trainer.checkpoint_callback
        if isinstance(checkpoint, ModelCheckpoint) and checkpoint.best_model_path:
            self.trainer.validate(self.model, datamodule=self.datamodule, ckpt_path="best", weights_only=True)


class RunRecord(SaveConfigCallback):
    """Keeps the configuration in the run folder and, as text, in every checkpoint, which so can be used alone."""

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            file = Path(trainer.default_root_dir) / "config.yaml"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(self._text(), encoding="utf-8")

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["config"] = self._text()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if (
            not isinstance(exception, KeyboardInterrupt)
            or not trainer.training
            or getattr(trainer, "fast_dev_run", False)
        ):
            return
        # not by ModelCheckpoint's `save_on_exception`, which puts where it was in the place of the best, too
        last = Path(trainer.default_root_dir) / "checkpoints" / "last.ckpt"
        if isinstance(kept := trainer.checkpoint_callback, ModelCheckpoint) and kept.dirpath:
            last = Path(kept.dirpath) / last.name
        trainer.save_checkpoint(last)
        rank_zero_info(f"stopped; go on where it was with --ckpt_path last ({last})")

    def _text(self) -> str:
        return self.parser.dump(self.config, skip_none=False)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `fit`, `validate`, `test` or `predict` as the first argument says."""
    given = sys.argv
    _show_notes()
    try:
        args = resolve_configs(given[1:] if argv is None else list(argv))
        # the processes of a run on several devices are started with the words of this one
        sys.argv = [given[0], *args]
        VertebraCLI(
            TaskModule,
            TaskData,
            subclass_mode_model=True,
            subclass_mode_data=True,
            save_config_callback=RunRecord,
            save_config_kwargs={"save_to_log_dir": False},
            trainer_defaults={
                "precision": default_precision(),
                "default_root_dir": f"runs/{config_of(args) or 'unnamed'}",
                "use_distributed_sampler": False,  # the data modules share out samples themselves
                "log_every_n_steps": 10,
                "callbacks": [ReportWriter()],
            },
            seed_everything_default=0,
            auto_configure_optimizers=False,
        )
    except Exception as error:
        message = sentence(error, VertebraCLI.folder)
        if message is None:
            raise
        print(f"vertebra: {message}", file=sys.stderr)
        return 1
    finally:
        sys.argv = given
    return 0


def _loggers(run: Path) -> list[Logger]:
    csv = CSVLogger(run, name="logs")
    return [csv, TensorBoardLogger(run, name="logs", version=csv.version)]


def _show_notes() -> None:
    """Print what backbones and tasks log, from the first process alone."""
    for name in ("backbones", "tasks"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO if getattr(rank_zero_only, "rank", 0) == 0 else logging.WARNING)
        logger.handlers = [logging.StreamHandler()]  # on stderr as it is now, since a program may run several commands


@rank_zero_only
def _refuse_used(run: Path) -> None:
    """Refuse to train into a folder that holds a run: two runs in one place are told apart by nobody."""
    if (run / "checkpoints").is_dir():
        raise ValueError(
            f"{run} already holds a run; take it up again with --ckpt_path last, or train anew elsewhere with "
            "--trainer.default_root_dir FOLDER."
        )


if __name__ == "__main__":
    sys.exit(main())

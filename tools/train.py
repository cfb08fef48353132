"""`vertebra fit / validate / test`: LightningCLI with a run folder; one YAML is one run."""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from pydoc import locate
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint, ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.utilities import rank_zero_only

from vertebra.tasks.loading.data import TaskData
from vertebra.tasks.training.curve_points import CurvePoints
from vertebra.tasks.training.module import TaskModule
from vertebra.tasks.training.report_writer import ReportWriter
from vertebra.tasks.training.run_facts import RunFacts
from vertebra.tasks.training.saving.checkpoint_files import LAST, PREVIOUS
from vertebra.tasks.training.saving.checkpoints import PURGE_STEP, Checkpoints
from vertebra.tasks.training.saving.metrics_log import MetricsLog
from vertebra.tasks.training.saving.stopping import Interrupted, StopOnSignal
from vertebra.tasks.training.training_pictures import TrainingPictures
from vertebra.tools.arguments.config_files import config_name, in_own_folder, resolve_configs
from vertebra.tools.arguments.library_errors import library_message
from vertebra.tools.arguments.linked_arguments import link_classes, refuse_contradictions, refuse_linked
from vertebra.tools.arguments.null_values import load_none_as_null
from vertebra.tools.arguments.split_remedies import with_remedy
from vertebra.tools.arguments.tracker_names import TRACKERS, tracker_names
from vertebra.tools.errors import user_message
from vertebra.tools.experiment.console import RunHeader, silence_chatter
from vertebra.tools.experiment.hardware import default_precision
from vertebra.tools.experiment.progress import ThrottledProgressBar
from vertebra.tools.experiment.run_folder import check_writable
from vertebra.tools.experiment.run_lock import RunLock
from vertebra.tools.experiment.tracked_samples import TrackedSamples
from vertebra.tools.experiment.trackers import make_tracker
from vertebra.tools.trained.checkpoint_file import read_checkpoint
from vertebra.tools.trained.exported_file import run_exported
from vertebra.tools.trained.judging import add_judge
from vertebra.tools.trained.location import is_exported
from vertebra.tools.trained.run_record import RunCheckpointIO, RunRecord
from vertebra.tools.trained.teaching import add_teacher

Start = Callable[[TaskModule], None]

CHOSEN_BY_LIGHTNING = ("best", "last", "hpc")  # keywords of --ckpt_path that are not paths


class VertebraCLI(LightningCLI):
    """LightningCLI for all tasks: every constructor argument is a flag, and every run has one folder.

    The run folder (`--trainer.default_root_dir`, by default `runs/<name of the YAML>`) holds checkpoints, logs, the
    resolved configuration and the report. It is locked while a run trains in it, and not reused without `--ckpt_path`.
    `fit` ends with an evaluation of the best checkpoint; `validate` and `test` load that checkpoint by default.

    Args:
        stop: signal handler, which ends a run between two batches.
        lock: lock on the run folder.
        start: called with the module before it is trained, such as to fill in weights; None for nothing.
        options: arguments of LightningCLI.

    Attributes:
        folder: run folder of the latest instance, for messages about errors raised in its construction.
        purge_step: of the checkpoint to resume from: first step that TensorBoard is to forget; None for no checkpoint.
    """

    folder = ""

    def __init__(self, stop: StopOnSignal, lock: RunLock, start: Start | None = None, **options: Any) -> None:
        self.stop, self.lock, self.start = stop, lock, start
        self.purge_step: int | None = None
        super().__init__(**options)

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        # that of this call only, if it is the first word: the parsers of all four take longer than parsing
        every = LightningCLI.subcommands()
        return {name: every[name] for name in sys.argv[1:2] if name in every} or every

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        link_classes(parser, self._read_splits)
        parser.add_lightning_class_args(Checkpoints, "checkpoint")
        help_text = "also write the predictions of the evaluation (detection: COCO results, detections_SPLIT.json)"
        trackers = f"also send pictures and tables to trackers: one or more of {', '.join(TRACKERS)}"
        parser.add_argument("--log", type=str | None, default=None, help=trackers)
        parser.add_argument("--save", action="store_true", help=help_text)

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        if subcommand in ("validate", "test"):
            parser.set_defaults(verbose=False)  # a table of 17 digits; the report writer prints the scores
        return parser

    def before_instantiate_classes(self) -> None:
        config = self.config[self.subcommand]
        refuse_linked(config)
        refuse_contradictions(config)
        run = Path(config.trainer.default_root_dir)
        VertebraCLI.folder = str(run)
        # set here and not as a default: it depends on another flag
        config.checkpoint.dirpath = config.checkpoint.dirpath or str(run / "checkpoints")
        if config.checkpoint.monitor is None:
            module: Any = locate(config.model.class_path)
            config.checkpoint.monitor, config.checkpoint.mode = module.choose_monitor(vars(config.model.init_args))
        config.weights_only = True  # loading a checkpoint executes no code
        if not config.trainer.fast_dev_run:  # which writes nothing
            check_writable(run)
            if self.subcommand == "fit":
                self._acquire_lock(run)
                if config.ckpt_path is None:
                    _refuse_used(run)
        choose = _to_resume if self.subcommand == "fit" else _to_evaluate
        config.ckpt_path = choose(config.ckpt_path, Path(config.checkpoint.dirpath))
        # before Lightning loads it, whose errors do not name the file
        if config.ckpt_path not in (None, *CHOSEN_BY_LIGHTNING):
            content = read_checkpoint(Path(config.ckpt_path), training=self.subcommand == "fit")
            self.purge_step = content.get(PURGE_STEP)
            # an evaluation needs no training split, nor takes its classes from another one
            if self.subcommand in ("validate", "test") and config.get("data.init_args.class_names") is None:
                config["data.init_args.class_names"] = content["class_names"]

    def _read_splits(self, data: TaskData) -> None:
        """Read the splits that the run measures on before the network is built, which may take a download."""
        validates = self.config[self.subcommand].trainer.limit_val_batches != 0
        split = {"fit": "val" if validates else "", "validate": "val", "test": "test"}.get(str(self.subcommand), "")
        if self.subcommand == "fit":
            _ = data.class_names  # first, since a flag of the validation split is no remedy for the training split
        try:
            if split:
                data.records(split)
        except (ValueError, FileNotFoundError) as error:
            raise with_remedy(error, split) from error

    def _add_instantiators(self) -> None:
        """Omit Lightning's record of constructor arguments for `save_hyperparameters`, which serializes everything."""

    def _parse_ckpt_path(self) -> None:
        """Disable Lightning's override of the configuration with classes and arguments stored in a checkpoint."""

    def instantiate_classes(self) -> None:
        super().instantiate_classes()
        config = self.config_init[self.subcommand]
        add_judge(self.model)
        if self.subcommand == "fit":
            add_teacher(self.model, self.datamodule)
            if self.start is not None:
                self.start(self.model)
        if self.subcommand in ("validate", "test") and config.ckpt_path and is_exported(Path(config.ckpt_path)):
            file = Path(config.ckpt_path)
            content = read_checkpoint(file)
            self.model.on_load_checkpoint(content | {"state_dict": run_exported(self.model, file, content)})
            config.ckpt_path = None  # there are no weights that Lightning could load

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        trainer = self._get(self.config_init, "trainer")
        if trainer.logger in (None, True) and self.subcommand == "fit" and not trainer.fast_dev_run:
            resumed = self._get(self.config_init, "ckpt_path") is not None
            names = tracker_names(self._get(self.config_init, "log"))
            kwargs["logger"] = _loggers(Path(trainer.default_root_dir), resumed, self.purge_step, names)
            tracked = [TrackedSamples()] if names else []
            trainer.callbacks = [*(trainer.callbacks or []), LearningRateMonitor(), *tracked]
        elif trainer.logger in (None, True):
            kwargs["logger"] = False
        for writer in (one for one in self.trainer_defaults["callbacks"] if isinstance(one, ReportWriter)):
            writer.save = self._get(self.config_init, "save")
        weights = self.config[self.subcommand].get("model.init_args.network.init_args.weights")
        for record in (one for one in self.trainer_defaults["callbacks"] if isinstance(one, RunFacts)):
            record.weights = "random" if weights is None else str(weights)
        callbacks = trainer.callbacks or []
        if trainer.enable_progress_bar is not False and not any(isinstance(bar, ProgressBar) for bar in callbacks):
            trainer.callbacks = [*callbacks, ThrottledProgressBar()]
        if self.subcommand == "fit":
            # first: what other callbacks do at the start of a batch must not be in the checkpoint it stops with
            trainer.callbacks = [self.stop, *(trainer.callbacks or [])]
        made = super().instantiate_trainer(**kwargs)
        if type(made.strategy) in (SingleDeviceStrategy, DDPStrategy):  # sharded strategies write a folder, not a file
            made.strategy.checkpoint_io = RunCheckpointIO()
        return made

    def after_fit(self) -> None:
        """Evaluate the best checkpoint, which also writes the report."""
        for log in (logger for logger in self.trainer.loggers if isinstance(logger, MetricsLog)):
            log.finish()
        checkpoint = self.trainer.checkpoint_callback
        if isinstance(checkpoint, ModelCheckpoint) and checkpoint.best_model_path:
            self.trainer.validate(
                self.model, datamodule=self.datamodule, ckpt_path="best", verbose=False, weights_only=True
            )

    @rank_zero_only
    def _acquire_lock(self, run: Path) -> None:
        self.lock.acquire(run)


def main(argv: Sequence[str] | None = None, start: Start | None = None) -> int:
    """Run `fit`, `validate` or `test`, whichever the first argument names, and return the exit code.

    Args:
        argv: the arguments; those of the process if not given.
        start: see `VertebraCLI`.
    """
    given = sys.argv
    _enable_logging()
    silence_chatter()
    load_none_as_null()
    try:
        args = in_own_folder(resolve_configs(given[1:] if argv is None else list(argv)))
        # Lightning starts the other processes of a multi-device run with this sys.argv
        sys.argv = [given[0], *args]
        with StopOnSignal() as stop, RunLock() as lock:
            VertebraCLI(
                stop,
                lock,
                start,
                model_class=TaskModule,
                datamodule_class=TaskData,
                subclass_mode_model=True,
                subclass_mode_data=True,
                save_config_callback=RunRecord,
                save_config_kwargs={"save_to_log_dir": False},
                trainer_defaults={
                    "precision": default_precision(),
                    "default_root_dir": f"runs/{config_name(args) or 'unnamed'}",
                    "use_distributed_sampler": False,  # the samplers of the data modules split samples across ranks
                    "log_every_n_steps": 10,
                    "enable_model_summary": False,  # which counts no FLOPs and one network; `RunHeader` is in its place
                    "callbacks": [
                        ReportWriter(),
                        RunFacts(_command(given, args)),
                        TrainingPictures(),
                        RunHeader(),
                        CurvePoints(),
                    ],
                },
                seed_everything_default=0,
                # raised, and printed as one line
                parser_kwargs={
                    "exit_on_error": False,
                    # the usage would list every flag, and the help does so again
                    **{
                        name: {"exit_on_error": False, "usage": f"vertebra {name} -c CONFIG [--FLAG VALUE ...]"}
                        for name in VertebraCLI.subcommands()
                    },
                },
                auto_configure_optimizers=False,
            )
    except Exception as error:
        message = user_message(error, VertebraCLI.folder) or library_message(error)
        if message is None:
            raise
        print(f"vertebra: {message}", file=sys.stderr)
        return 1
    except Interrupted as interrupted:
        if str(interrupted):
            print(f"vertebra: {interrupted}", file=sys.stderr)
        return interrupted.code
    finally:
        sys.argv = given
    return 0


def _to_resume(wanted: str | None, folder: Path) -> str | None:
    """Return the checkpoint that a training goes on from; for `last` the newest complete one of the folder."""
    kept = [folder / name for name in (LAST, PREVIOUS)] if wanted == "last" else []
    # if neither exists, Lightning warns and starts from scratch
    return next((str(file) for file in kept if file.exists()), wanted)


def _to_evaluate(wanted: str | None, folder: Path) -> str:
    """Return the checkpoint to evaluate; the best one of the folder where none is given."""
    if wanted not in (None, "best"):
        return str(wanted)
    best = folder / "best.ckpt"
    if not best.is_file():
        raise FileNotFoundError(
            f"{best} does not exist, and the metrics of untrained weights mean nothing; train first, or give "
            "--ckpt_path FILE."
        )
    return str(best)


def _command(given: Sequence[str], args: Sequence[str]) -> str:
    """Return the command as it was typed; from Python, that which does the same."""
    is_typed = Path(given[0]).name in ("vertebra", "main.py")
    return shlex.join(["vertebra", *(given[1:] if is_typed else args)])


def _loggers(run: Path, resumed: bool, purge_step: int | None, trackers: Sequence[str]) -> list[Logger]:
    log = MetricsLog(run, resumed=resumed)
    board = TensorBoardLogger(run, name=log.name, version=log.version, purge_step=purge_step)
    return [log, board, *(make_tracker(name, run) for name in trackers if name != "tensorboard")]


def _enable_logging() -> None:
    """Print the log messages of backbones and tasks to stderr: info from rank 0, warnings from all ranks."""
    for name in ("vertebra.backbones", "vertebra.tasks"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO if getattr(rank_zero_only, "rank", 0) == 0 else logging.WARNING)
        # replaced at every call: a handler keeps the stderr of its creation, which a later caller may have redirected
        logger.handlers = [logging.StreamHandler()]


@rank_zero_only
def _refuse_used(run: Path) -> None:
    """Refuse to train into a folder that holds a run, since the files of two runs would be mixed."""
    if (run / "checkpoints").is_dir():
        raise ValueError(
            f"{run} already holds a run; resume it with --ckpt_path last, or train in another folder with "
            "--trainer.default_root_dir FOLDER."
        )


if __name__ == "__main__":
    sys.exit(main())

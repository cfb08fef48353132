"""`vertebra replay FILE`: reproduces the training step at which a run diverged and locates the first bad module."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vertebra.tools.errors import user_message

if TYPE_CHECKING:
    from vertebra.tasks.training.divergence.replay_file import Replay

_DESCRIPTION = """\
Repeat the training step whose loss or gradient was not finite, from the weights before it and with the same samples and
random numbers. Print its losses, its gradients and the first module with a non-finite output. Nothing is written.
config.yaml must be in the same folder as FILE, and the data set in its original place.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Replay a training step and print its diagnosis."""
    parser = argparse.ArgumentParser(
        prog="vertebra replay", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="diverged.pt in the run folder")
    args = parser.parse_args(sys.argv[1:] if argv is None else argv)
    try:
        _run(args.file)
    except (ValueError, FileNotFoundError) as error:
        message = user_message(error)
        if message is None:
            raise
        print(f"vertebra: {message}", file=sys.stderr)
        return 1
    return 0


def _run(file: Path) -> None:
    from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
    from torch.utils.data import DataLoader

    from vertebra.tasks.loading.data import TaskData, run_seed
    from vertebra.tasks.training.divergence.finite import Diverged
    from vertebra.tasks.training.divergence.replay_file import read_replay
    from vertebra.tasks.training.divergence.step_report import StepReport
    from vertebra.tasks.training.module import TaskModule
    from vertebra.tasks.training.step_seed import seed_step
    from vertebra.tools.arguments.linked_arguments import link_classes
    from vertebra.tools.trained.teaching import add_teacher

    class ReplayCLI(LightningCLI):
        def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
            link_classes(parser)

    replay = read_replay(file)
    config = _config(file.with_name("config.yaml"))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="LightningCLI's args parameter")  # sys.argv is meant to be ignored
        cli = ReplayCLI(
            TaskModule,
            TaskData,
            subclass_mode_model=True,
            subclass_mode_data=True,
            save_config_callback=None,
            auto_configure_optimizers=False,
            run=False,
            args=config,
        )
    data = cli.datamodule
    add_teacher(cli.model, data)
    dataset = data.dataset(data.records("train"), True, data.missing)
    # the recorded requests carry the random seeds of the samples, so augmentation repeats too
    loader = DataLoader(dataset, batch_sampler=[replay.draws], collate_fn=data.collate)
    data.train_dataloader = lambda: loader
    model, position = cli.model, (run_seed(), replay.epoch, replay.batch, replay.rank)
    # replaces the module's own hook, which would seed for batch 0 of epoch 0
    model.on_train_batch_start = lambda batch, batch_idx: seed_step(model.device, *position)
    report = StepReport(replay.state_dict)
    callbacks: list[Any] = cli.trainer.callbacks  # type: ignore[attr-defined]  # set by a connector
    callbacks.append(report)
    _print_heading(file, replay)
    try:
        cli.trainer.fit(model, datamodule=data)
    except Diverged:
        verdict = "the step diverges again"
    else:
        verdict = "the step is finite this time; the divergence may depend on state from earlier steps"
    print("\n".join([*report.lines, verdict]))


def _print_heading(file: Path, replay: Replay) -> None:
    print(f"{file}: step {replay.step} (epoch {replay.epoch}, batch {replay.batch}, process {replay.rank})")
    print("recorded: " + ", ".join(f"{name} {value:.6g}" for name, value in replay.values.items()))
    print(f"samples: {len(replay.files)}")
    for name in replay.files:
        print(f"  {name}")


def _config(file: Path) -> dict[str, Any]:
    """Return the configuration of a run, reduced to one training step without output files.

    Raises:
        FileNotFoundError: the file does not exist.
    """
    import yaml

    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist; leave diverged.pt in its run folder, beside config.yaml.")
    config = yaml.safe_load(file.read_text(encoding="utf-8"))
    # only what changes the arithmetic of a step; loggers and callbacks would write files
    trainer = {name: config["trainer"][name] for name in ("accelerator", "precision", "plugins")}
    # fast_dev_run is one batch without checkpoints and loggers; rank and samples come from the recording
    trainer |= {"devices": 1, "fast_dev_run": True, "limit_val_batches": 0, "num_sanity_val_steps": 0}
    trainer |= {"enable_progress_bar": False, "enable_model_summary": False, "use_distributed_sampler": False}
    # forward hooks locate the module, and compiled code runs none; skipping the step would hide the divergence
    config["model"]["init_args"].update(compile_mode=None, on_divergence="stop")
    return {
        "seed_everything": config["seed_everything"],
        "trainer": trainer,
        **{k: config[k] for k in ("model", "data")},
    }


if __name__ == "__main__":
    sys.exit(main())

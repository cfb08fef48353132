"""Fine-tuning with the recipe of a run, into a run folder of its own."""

from __future__ import annotations

import copy
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from vertebra.tools import train
from vertebra.tools.arguments.command_line import read_words
from vertebra.tools.arguments.flag_names import refuse_unknown
from vertebra.tools.arguments.short_flags import expand_short
from vertebra.tools.trained.checkpoint_config import drop_initial_weights
from vertebra.tools.trained.location import is_exported, run_folder
from vertebra.tools.trained.run import Run


def recipe_of(run: Run, output: Path) -> dict[str, Any]:
    """Return the configuration of a fine-tuning: that of the run, without initial weights and without a teacher.

    Args:
        run: the run.
        output: folder of the new run.

    Raises:
        ValueError: the run has no recipe.
    """
    if is_exported(run.path) or not config_file(run).is_file():
        raise ValueError(
            f"{run.path}: has no config.yaml with a data set, which is needed to measure and to fine-tune; give the "
            "folder of a run."
        )
    config = copy.deepcopy(run.config)
    drop_initial_weights(config["model"])
    config["model"]["init_args"] |= {"teacher": None, "distillation": None}
    config["trainer"]["default_root_dir"] = str(output)
    config["checkpoint"]["dirpath"] = None
    config["model"]["init_args"]["network"]["init_args"].pop("num_classes", None)
    return config


def folder_beside(run: Run, suffix: str) -> Path:
    """Return the folder of a run that is made of another one: beside it, with a suffix to its name."""
    folder = run_folder(run.path)
    if folder.name in ("", ".."):  # the current folder, and the one above
        folder = folder.resolve()
    return folder.with_name(f"{folder.name}{suffix}")


def config_file(run: Run) -> Path:
    """Return the path of the configuration with the data set."""
    return run.path.parent.parent / "config.yaml"


def long_flags(flags: Sequence[str], config: dict[str, Any]) -> list[str]:
    """Return flags of `vertebra fit` with the short ones expanded, once all are known to be sound.

    Raises:
        ValueError: one is unknown, or its value cannot be used.
    """
    words = read_words(flags)
    refuse_unknown(words.flags, config)
    return [word for _, long in expand_short(words.flags, config) for flag in long for word in flag.words()]


def fit_tuned(config: dict[str, Any], start: train.Start, epochs: int, flags: Sequence[str]) -> None:
    """Train by a configuration.

    Args:
        config: of `recipe_of`.
        start: called with the module before it is trained.
        epochs: of the fine-tuning.
        flags: of `long_flags`.

    Raises:
        SystemExit: the training ended early, and has printed why; there is no folder without a checkpoint.
    """
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary, "config.yaml")
        file.write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
        words = ["fit", "-c", str(file), "--trainer.max_epochs", str(epochs), "--trainer.devices", "1", *flags]
        code = train.main(words, start=start)
    if code:
        folder = Path(config["trainer"]["default_root_dir"])
        if not any(folder.glob("checkpoints/*.ckpt")):  # of no use, and in the way of the next try
            shutil.rmtree(folder, ignore_errors=True)
        raise SystemExit(code)

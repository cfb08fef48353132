"""`vertebra fit DATA`: finds task, splits and recipe, and starts the training; also reads the flags of `-c CONFIG`.

Nothing heavy is imported before the call is known to be sound, so that a slip is answered at once.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vertebra.tools.command_line import Flag, Words, read_words
from vertebra.tools.config_files import OWN_DATA, find_config
from vertebra.tools.early_checks import check_device, check_paths
from vertebra.tools.flag_names import refuse_unknown
from vertebra.tools.read_configs import read_configs
from vertebra.tools.run_help import short_help
from vertebra.tools.short_flags import expand_short

_CONFIG = ("-c", "--config")
_RUN_FOLDER = "--trainer.default_root_dir"


def main(argv: Sequence[str]) -> int:
    """Run `fit`, `validate` or `test`, whichever the first argument names, and return the exit code."""
    command, *args = argv
    words = read_words(args)
    if words.has("-h", "--help"):
        print(short_help(command))
        return 0
    try:
        if words.has("--help-all"):
            return _train([command, "--help"])
        if not (words.paths or words.has(*_CONFIG, "--model")):
            raise ValueError(
                f"{command} needs a data set: vertebra {command} DATA, for instance vertebra {command} photos. Flags: "
                f"vertebra {command} --help."
            )
        return _fit_data(words) if words.paths else _run_config(command, words)
    except (ValueError, FileNotFoundError) as error:
        choices = getattr(error, "choices", {})  # of `Ambiguous`, whose module is heavy to import
        print(f"vertebra: {error}{'; choose one:' if choices else ''}", file=sys.stderr)
        for choice, meaning in choices.items():
            print(f"  vertebra {command} {choice} {_rest(words)} # {meaning}", file=sys.stderr)
        return 1


def _run_config(command: str, words: Words) -> int:
    """Run a configuration with short and long flags."""
    files = [find_config(flag.value or "") for flag in words.flags if flag.name in _CONFIG]
    return _train([command, *_words(_expand(words.flags, read_configs(files)))])


def _fit_data(words: Words) -> int:
    """Choose a recipe for a data set, and train."""
    if words.has(*_CONFIG):
        raise ValueError(
            f"{words.paths[0]} and -c are given; expected a data set or a configuration. Give the data of a "
            "configuration as --data.root FOLDER."
        )
    paths = [Path(path) for path in words.paths]
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist; give a data set: a folder, or its annotation files.")
    flags = [flag for flag in words.flags if flag.name != "--task"]
    _check_for_any_recipe(flags)

    from vertebra.tools import check  # the formats of all tasks import torch
    from vertebra.tools.recipes import choose_recipe
    from vertebra.tools.run_names import run_folder

    recipe = choose_recipe(paths, words.value("--task"), check.make_parser().parse_args(words.paths))
    config = find_config(recipe.config)
    folder = run_folder(paths[0], resumes=words.value("--ckpt_path") == "last")
    chosen = [Flag("-c", recipe.config), *recipe.flags]
    named = words.has("--name", _RUN_FOLDER)
    long = [*recipe.flags, *([] if named else [Flag(_RUN_FOLDER, str(folder))])]
    if _is_first_process():
        shown = next((flag.value for flag in reversed(long) if flag.name == _RUN_FOLDER), None)
        print(f"data    {recipe.found}")
        print(f"recipe  vertebra fit {shlex.join(word for flag in chosen for word in flag.words())}")
        print(f"run     {shown}")
    return _train(["fit", "-c", str(config), *_words(long), *_words(_expand(flags, read_configs([config])))])


def _expand(flags: Sequence[Flag], config: dict[str, Any]) -> list[Flag]:
    """Return the long flags of all flags, and print what each short one sets."""
    refuse_unknown(flags, config)
    long: list[Flag] = []
    for flag, expanded in expand_short(flags, config):
        if expanded != [flag] and _is_first_process():
            print(f"{flag.name} {flag.value}  is  {shlex.join(_words(expanded))}")
        long += expanded
    check_paths(long)
    check_device(long)
    return long


def _check_for_any_recipe(flags: Sequence[Flag]) -> None:
    """Refuse flags that no recipe has, before the data set is searched."""
    errors: list[ValueError] = []
    for name in OWN_DATA.values():
        config = read_configs([find_config(name)])
        try:
            refuse_unknown(flags, config)
            long = [flag for _, found in expand_short(flags, config) for flag in found]
        except ValueError as error:
            errors.append(error)
        else:
            check_paths(long)
            check_device(long)
            return
    raise errors[0]


def _words(flags: Sequence[Flag]) -> list[str]:
    return [word for flag in flags for word in flag.words()]


def _rest(words: Words) -> str:
    """Return the flags of a call as text, to be repeated behind another data set."""
    return shlex.join(_words([flag for flag in words.flags if flag.name != "--task"]))


def _is_first_process() -> bool:
    # of a run on several devices, which Lightning, torchrun or SLURM started
    return all(os.environ.get(name, "0") == "0" for name in ("LOCAL_RANK", "RANK", "SLURM_PROCID"))


def _train(args: list[str]) -> int:
    from vertebra.tools import train  # imports torch and Lightning

    return train.main(args)

"""`vertebra fit DATA`: finds task, splits and recipe, and starts the training; also reads the flags of `-c CONFIG`.

Nothing heavy is imported before the call is known to be sound, so that a slip is answered at once.
"""

from __future__ import annotations

import difflib
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vertebra.tools.arguments.command_line import Flag, Words, read_words
from vertebra.tools.arguments.config_files import OWN_DATA, find_config
from vertebra.tools.arguments.early_checks import check_device, check_paths
from vertebra.tools.arguments.flag_names import refuse_unknown, refuse_unknown_keys
from vertebra.tools.arguments.read_configs import read_configs
from vertebra.tools.arguments.run_help import short_help
from vertebra.tools.arguments.short_flags import expand_short
from vertebra.tools.arguments.tracker_names import check_trackers
from vertebra.tools.arguments.value_checks import check_values
from vertebra.tools.errors import user_message

_CONFIG = ("-c", "--config")
_NEEDS = {
    "fit": "fit needs a data set: vertebra fit DATA, for instance vertebra fit photos. Flags: vertebra fit --help.",
    **{
        command: f"{command} needs a run: vertebra {command} runs/NAME DATA; without DATA on the run's own data set. "
        f"Flags: vertebra {command} --help."
        for command in ("validate", "test")
    },
}
_RUN_FOLDER = "--trainer.default_root_dir"


def main(argv: Sequence[str]) -> int:
    """Run `fit`, `validate` or `test`, whichever the first argument names, and return the exit code."""
    command, *args = argv
    words = read_words(args) if command == "fit" else _file_first(read_words(args))
    if words.has("-h", "--help"):
        print(short_help(command))
        return 0
    try:
        if words.has("--help-all"):
            return _train([command, "--help"])
        if not (words.paths or words.has(*_CONFIG, "--model")):
            raise ValueError(_NEEDS[command])
        if not words.paths:
            return _run_config(command, words)
        return _fit_data(words) if command == "fit" else _evaluate(command, words)
    except (ValueError, FileNotFoundError) as error:
        message = user_message(error)
        if message is None:  # a bug, whose traceback helps
            raise
        choices = getattr(error, "choices", {})  # of `Ambiguous`, whose module is heavy to import
        print(f"vertebra: {message}{'; choose one:' if choices else ''}", file=sys.stderr)
        for choice, meaning in choices.items():
            print(f"  vertebra {command} {choice} {_rest(words)} # {meaning}", file=sys.stderr)
        return 1


def _file_first(words: Words) -> Words:
    """Return a call with the ONNX file of `--model FILE` as its first path."""
    file = words.value("--model") or ""
    if not file.lower().endswith(".onnx"):
        return words
    return Words([file, *words.paths], [flag for flag in words.flags if flag.name != "--model"])


def _run_config(command: str, words: Words) -> int:
    """Run a configuration with short and long flags."""
    files = [find_config(flag.value or "") for flag in words.flags if flag.name in _CONFIG]
    for file in files:
        refuse_unknown_keys(read_configs([file]), str(file))
    config = read_configs(files)
    expanded = _expand(words.flags, config)
    check_values(_long(expanded), config, ", ".join(map(str, files)))
    _print_short(expanded)
    # a configuration overrides the flags in front of it, which is not modeled here: the run then finds the faults
    if len(files) == 1 and words.flags[0].name in _CONFIG and not words.has("--print_config"):
        _refuse_broken(command, files[0], config, _long(expanded))
    return _train([command, *_words(_long(expanded))])


def _refuse_broken(command: str, file: Path, config: dict[str, Any], flags: Sequence[Flag]) -> None:
    """Read the splits that a run begins with; those of an evaluation where its classes are known."""
    from vertebra.tools.autoconfig.early_reading import refuse_broken  # imports NumPy, OpenCV and Pillow

    if command == "fit":
        limits = [(config.get("trainer") or {}).get("limit_val_batches")]
        limits += [flag.value for flag in flags if flag.name == "--trainer.limit_val_batches"]
        refuse_broken(config, flags, ["train", "val"] if limits[-1] is None else ["train"])
        return
    splits = [{"validate": "val", "test": "test"}[command]]
    is_given = (config.get("data") or {}).get("init_args", {}).get("class_names")
    if is_given or any(flag.name.startswith("--data.class_names") for flag in flags):
        refuse_broken(config, flags, splits)
        return
    from vertebra.tools.trained.checkpoint_outline import read_outline

    named = [flag.value or "" for flag in flags if flag.name == "--ckpt_path"]
    content = read_outline(Path(named[-1]) if named else file.parent / "checkpoints" / "best.ckpt")
    if content is not None:  # the classes of the checkpoint, as in the run
        refuse_broken(config, flags, splits, content["class_names"])


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
    if words.has("--task"):
        _check_task(words.value("--task") or "")

    from vertebra.tools import check  # the formats of all tasks import NumPy, OpenCV and Pillow
    from vertebra.tools.autoconfig.early_reading import refuse_broken
    from vertebra.tools.autoconfig.recipes import GROUPS, choose_recipe
    from vertebra.tools.autoconfig.run_names import run_folder

    weights = words.value("--weights") or words.value("--model.network.weights")
    recipe = choose_recipe(paths, words.value("--task"), weights, check.make_parser().parse_args(words.paths))
    config = find_config(recipe.config)
    folder = Flag(_RUN_FOLDER, str(run_folder(paths[0], resumes=words.value("--ckpt_path") == "last")))
    expanded = _expand(flags, read_configs([config]))
    long = [*recipe.flags, folder, *_long(expanded)]  # the user's last, since the last one counts
    run = next(flag.value for flag in reversed(long) if flag.name == _RUN_FOLDER)
    if _is_first_process():
        print(f"data    {recipe.found}")
        print(f"recipe  vertebra fit -c {recipe.config} {shlex.join(_words(recipe.flags))}")
        print(f"run     {run}")
        for flag in recipe.flags:
            if flag.name in GROUPS.values() and flag.value != "null" and not words.has(flag.name):
                print(f"groups  {flag.value}: rows of one are never in two splits; {flag.name} null ignores the column")
        if recipe.also:
            print(f"also    vertebra fit {shlex.join(words.paths)} {recipe.also}")
    _print_short(expanded)
    refuse_broken(read_configs([config]), long, list(recipe.splits))
    return _train(["fit", "-c", str(config), *_words(long)])


def _evaluate(command: str, words: Words) -> int:
    """Evaluate the checkpoint that is named first on the data set behind it, or else on that of its run."""
    run, *data = map(Path, words.paths)
    for path in (run, *data):
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist; give a run or a checkpoint, then a data set.")
    checkpoint = run / "checkpoints" / "best.ckpt" if run.is_dir() else run
    if not checkpoint.is_file():
        raise FileNotFoundError(f"{run} holds no checkpoints/best.ckpt; give a run of vertebra fit, or a checkpoint.")
    if not data:
        file = checkpoint.parent.parent / "config.yaml"
        if not file.is_file():
            raise FileNotFoundError(f"{file} does not exist; give a data set: vertebra {command} {run} DATA.")
        if command == "test":
            _check_test_split(run, file, words)
        flags = [Flag("-c", str(file)), Flag("--ckpt_path", str(checkpoint)), *words.flags]
        return _run_config(command, Words([], flags))
    flags = [flag for flag in words.flags if flag.name != "--trust"]
    refuse_unknown([flag for flag in flags if "." not in flag.name], {})  # before torch is imported

    from vertebra.tools import check
    from vertebra.tools.checks.finders import find_splits

    for path in data:
        find_splits(path, check.make_parser().parse_args([str(each) for each in data]))  # before torch as well

    from vertebra.tools.evaluate import evaluate, evaluation_config

    config = evaluation_config(checkpoint, words.has("--trust"))
    expanded = _expand(flags, config)
    _print_short(expanded)
    return evaluate(command, checkpoint, data, config, _long(expanded))


def _check_test_split(run: Path, file: Path, words: Words) -> None:
    """Refuse the own data set of a run where it has no folder or file `test`, the default of most data modules.

    Raises:
        FileNotFoundError: there is none.
    """
    data = read_configs([file]).get("data", {}).get("init_args", {})
    root, test = data.get("root"), data.get("test", "")
    is_given = any(flag.name.startswith(("--data.test", "--data.root")) for flag in words.flags)
    is_path = isinstance(test, str) and isinstance(root, str) and Path(root).is_dir()
    if not is_given and (test is None or (is_path and not Path(root, test).exists())):
        raise FileNotFoundError(
            f"the data set of {run} has no test split; give one: vertebra test {run} DATA. Its validation split: "
            f"vertebra validate {run}."
        )


def _expand(flags: Sequence[Flag], config: dict[str, Any]) -> list[tuple[Flag, list[Flag]]]:
    """Return each flag with the long flags that it sets, once all are known to be sound."""
    refuse_unknown(flags, config)
    expanded = expand_short(flags, config)
    _check(_long(expanded), config)
    return expanded


def _check(flags: Sequence[Flag], config: dict[str, Any]) -> None:
    check_paths(flags)
    check_device(flags)
    check_trackers(flags)
    check_values(flags, config)


def _print_short(expanded: Sequence[tuple[Flag, list[Flag]]]) -> None:
    """Print what each short flag sets."""
    for flag, long in expanded:
        if long != [flag] and _is_first_process():
            print(f"{flag.name} {flag.value}  is  {shlex.join(_words(long))}")


def _long(expanded: Sequence[tuple[Flag, list[Flag]]]) -> list[Flag]:
    return [flag for _, long in expanded for flag in long]


def _check_for_any_recipe(flags: Sequence[Flag]) -> None:
    """Refuse flags that no recipe has, before the data set is searched."""
    errors: list[ValueError | FileNotFoundError] = []
    for recipes in OWN_DATA.values():
        config = read_configs([find_config(recipes.scratch)])
        try:
            refuse_unknown(flags, config)
            _check(_long(expand_short(flags, config)), config)
        except (ValueError, FileNotFoundError) as error:
            errors.append(error)
        else:
            return
    raise errors[0]


def _check_task(name: str) -> None:
    tasks = sorted({kind.split()[0] for kind in OWN_DATA})
    if name not in tasks:
        close = difflib.get_close_matches(name, tasks, n=1)
        hint = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(tasks)}."
        raise ValueError(f"--task is {name!r}; {hint}")


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

"""Unknown flags, found before anything heavy is imported, with the closest known ones."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from vertebra.tools.arguments.command_line import Flag
from vertebra.tools.arguments.short_flags import SHORT_FLAGS
from vertebra.tools.arguments.signatures import Arguments, arguments_of

_TRAINER = "lightning.pytorch.trainer.trainer.Trainer"
_CHECKPOINT = "vertebra.tasks.training.saving.checkpoints.Checkpoints"
# arguments of a run that are no class of this package
_PLAIN = (
    "seed_everything",
    "ckpt_path",
    "save",
    "verbose",
    "weights_only",
    "print_config",
    "config",
    "return_predictions",
)
_GROUPS = ("trainer", "model", "data", "checkpoint")
# names of the same things in other libraries, too far in spelling for difflib; without dashes and underscores
_SYNONYMS = {
    "--backbone": "arch architecture encoder modelname",
    "--batch": "batchsize bs trainbatchsize",
    "--device": "accelerator devices gpu gpus",
    "--epochs": "maxepochs nepochs numepochs numtrainepochs",
    "--lr": "learningrate lr0 rate",
    "--log mlflow": "mlflow",
    "--log tensorboard": "tb tensorboard",
    "--log wandb": "logger tracker wandb",
    "--name": "dir exp experiment logdir out output outputdir project savedir workdir",
    "--size": "cropsize imagesize imgsize imgsz inputsize resolution",
    "--weights": "checkpoint finetune init initcheckpoint pretrained",
    "--workers": "numworkers",
    "--ckpt_path last": "continue resume",
    "--trainer.precision": "amp bf16 fp16 half precision",
    "DATA without a flag": "dataset datadir datapath dataroot input root",
}
_CLASSES = ("model", "data")  # given as class_path and init_args


def refuse_unknown(flags: Iterable[Flag], config: Mapping[str, Any], more: Sequence[str] = ()) -> None:
    """Refuse flags that no argument has, as far as the source of the configured classes says which there are.

    Args:
        flags: of a command.
        config: the configuration that they change.
        more: names of further flags, with their dashes.

    Raises:
        ValueError: a flag is unknown; the message has the closest known ones.
    """
    flags = list(flags)
    short = [flag.name for flag in SHORT_FLAGS]
    top = [*short, *more, *(f"--{name}" for name in (*_PLAIN, *_GROUPS)), "-c", "-h", "--help", "--help-all"]
    for flag in flags:
        name = flag.name.removesuffix("+")  # appends to a list
        if "." not in name:
            if name not in top:
                raise unknown_flag(name, top, [f"--{key}" for key in _keys(config)])
        elif (group := name.partition(".")[0]) not in (f"--{known}" for known in _GROUPS):
            raise unknown_flag(group, top)
        elif known := _names_beside(name.lstrip("-").split("."), config, flags):
            raise unknown_flag(name, [*known, *short])


def refuse_unknown_keys(config: Mapping[str, Any], file: str) -> None:
    """Refuse keys of a configuration that no argument has, as `refuse_unknown` does flags.

    Args:
        config: the configuration.
        file: where it is from, for the message.

    Raises:
        ValueError: a key is unknown.
    """
    try:
        refuse_unknown([Flag(f"--{key}", None) for key in _keys(config)], config)
    except ValueError as error:
        raise ValueError(f"{file}: {str(error).replace('unknown flag --', 'unknown key ')}") from None


def _keys(config: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the keys of a configuration as flags are spelled: without `init_args`."""
    for key, value in config.items():
        name = f"{prefix}{key}"
        if key not in ("class_path", "init_args", "dict_kwargs"):
            yield name
        if isinstance(value, Mapping) and key != "dict_kwargs":
            yield from _keys(value, prefix if key == "init_args" else f"{name}.")


def unknown_flag(name: str, known: Iterable[str], nested: Iterable[str] = ()) -> ValueError:
    """Return the error for a flag that does not exist.

    Args:
        name: of the flag, with its dashes.
        known: names of flags that exist.
        nested: names of further flags that it may be the last word of.
    """
    names = sorted(set(known))
    plain = re.sub(r"[-_]", "", name.lower())
    same = [flag for flag, others in _SYNONYMS.items() if plain.strip("-") in others.split()]
    # the last word may be right and misplaced
    word = name.rpartition(".")[2].lstrip("-")
    close = same or [flag for flag in (*names, *nested) if flag.rpartition(".")[2].lstrip("-") == word]
    likeness = {flag: difflib.SequenceMatcher(None, name, flag).ratio() for flag in names}
    nearest = difflib.get_close_matches(name, names, n=3)
    close = close or [flag for flag in nearest if likeness[flag] > max(likeness.values()) - 0.1]
    hint = f"did you mean {' or '.join(close[:3])}?" if close else "vertebra fit --help lists the short ones."
    return ValueError(f"unknown flag {name}; {hint} vertebra fit --help-all lists all flags.")


def _names_beside(parts: Sequence[str], config: Mapping[str, Any], flags: Sequence[Flag]) -> list[str]:
    """Return the flags that there are beside an unknown one; none where the flag is known, or may be."""
    for prefix, part, found in owners(parts, config, flags):
        if found is not None and part not in found.types:
            return [f"--{prefix}.{name}" for name in found.types] if found.is_complete else []
    return []


def owners(
    parts: Sequence[str], config: Mapping[str, Any], flags: Sequence[Flag]
) -> Iterator[tuple[str, str, Arguments | None]]:
    """Yield the class of each part of a flag, as far as it can be found.

    Args:
        parts: of the flag, such as `model`, `network` and `backbone`.
        config: the configuration that has the classes.
        flags: those that choose classes.

    Yields:
        The flag before the part, the part, and the arguments of the class that it is one of.
    """
    value: Any = config.get(parts[0])
    class_path = {"trainer": _TRAINER, "checkpoint": _CHECKPOINT}.get(parts[0], "")
    is_class = parts[0] in _CLASSES
    for depth, part in enumerate(parts[1:], start=1):
        prefix = ".".join(parts[:depth])
        if is_class and isinstance(value, Mapping):
            class_path = str(value.get("class_path") or class_path)
            value = value.get("init_args")
        # a class that a flag chooses
        chosen = next((flag.value for flag in flags if flag.name == f"--{prefix}"), None)
        class_path = chosen if chosen and "." in chosen else class_path
        if part in ("class_path", "init_args", "dict_kwargs", "help"):
            return
        found = arguments_of(class_path) if class_path and not (chosen and "." not in chosen) else None
        if found is None or not found.types:
            return
        yield prefix, part, found
        if part not in found.types:
            return
        value = value.get(part) if isinstance(value, Mapping) else None
        class_path, is_class = found.types[part], True
        if isinstance(value, Mapping) and "class_path" not in value:
            is_class = False  # a data class, whose fields are plain keys

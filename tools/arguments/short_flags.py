"""Short flags of `vertebra fit`, `validate` and `test`, and the arguments of a configuration that they set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vertebra.tools.arguments.command_line import Flag

AUTO_BATCH = "vertebra.tasks.training.auto_batch.AutoBatch"
AUTO_RATE = "vertebra.tasks.training.auto_rate.AutoRate"

# task -> the argument that has height and width of the network's input; a detector's have two
SIZES: Mapping[str, Sequence[str]] = {
    "classification": ("data.resize.size",),
    "detection": ("data.resize.short", "data.resize.longest"),
    "medical": ("data.resample.size",),
    "segmentation": ("data.crop.size",),
    "video": ("data.resize.size",),
}
_LONGEST = 1333 / 800  # longer side of a detector's images relative to the shorter one, as in COCO's recipes

_WEIGHTS = {"--weights", "--model.network.weights"}
_WEIGHTS_IN_FOLDERS = ("checkpoints/best.ckpt", "checkpoints/last.ckpt", "model.safetensors")  # of a run, or shared

# returns long flags of a value and of the configuration that they change
Expand = Callable[[str, Mapping[str, Any]], list[Flag]]


class ShortFlag(NamedTuple):
    """A short flag.

    Attributes:
        name: with its dashes.
        value: placeholder of its value in the help.
        summary: one line for the help.
        expand: returns the long flags.
    """

    name: str
    value: str
    summary: str
    expand: Expand


def expand_short(flags: Sequence[Flag], config: Mapping[str, Any]) -> list[tuple[Flag, list[Flag]]]:
    """Return each flag with the long flags that it sets; a long flag sets itself.

    Args:
        flags: of a command.
        config: the configuration that they change.

    Raises:
        ValueError: the value of a short flag cannot be used.
    """
    short = {flag.name: flag for flag in SHORT_FLAGS}
    expanded = []
    for flag in flags:
        if flag.name not in short:
            expanded.append((flag, [flag]))
        elif flag.value is None:
            raise ValueError(f"{flag.name} has no value; expected {flag.name} {short[flag.name].value}.")
        else:
            expanded.append((flag, short[flag.name].expand(flag.value, config)))
    if _leaves_its_weights(flags, config):
        expanded.append((Flag("--weights", "pretrained"), _weights("pretrained", config)))
    return expanded


def _leaves_its_weights(flags: Sequence[Flag], config: Mapping[str, Any]) -> bool:
    """Return whether a configuration starts from a published detector, and the flags choose another one or backbone."""
    network = ((config.get("model") or {}).get("init_args") or {}).get("network") or {}
    arguments = network.get("init_args") or {}
    if "_Weights." not in str(arguments.get("weights")) or any(flag.name in _WEIGHTS for flag in flags):
        return False
    own: dict[str, Any] = {"--model.network": str(network.get("class_path")).rpartition(".")[2]}
    own |= dict.fromkeys(("--backbone", "--model.network.backbone"), arguments.get("backbone"))
    return any(flag.name in own and str(flag.value).rpartition(".")[2] != own[flag.name] for flag in flags)


def task_of(config: Mapping[str, Any]) -> str:
    """Return the task of a configuration, by the package of its data module; "" for a class of another package."""
    parts = str((config.get("data") or {}).get("class_path", "")).split(".")
    return parts[2] if parts[:2] == ["vertebra", "tasks"] and len(parts) > 2 else ""


def _text(name: str) -> Expand:
    return lambda value, config: [Flag(f"--{name}", value)]


def _whole(flag: str, name: str, least: int, other: str = "") -> Expand:
    def expand(value: str, config: Mapping[str, Any]) -> list[Flag]:
        if not value.isdecimal() or int(value) < least:
            raise ValueError(f"{flag} is {value!r}; expected a whole number of {least} or more{other}.")
        return [Flag(f"--{name}", value)]

    return expand


def _batch(value: str, config: Mapping[str, Any]) -> list[Flag]:
    if value == "auto":
        return [Flag("--trainer.callbacks+", AUTO_BATCH)]
    return _whole("--batch", "data.batch_size", 1, ", or auto")(value, config)


def _workers(value: str, config: Mapping[str, Any]) -> list[Flag]:
    # null is one for each core but one
    return (
        [Flag("--data.num_workers", "null")]
        if value == "auto"
        else _whole("--workers", "data.num_workers", 0, ", or auto")(value, config)
    )


def _rate(value: str, config: Mapping[str, Any]) -> list[Flag]:
    if value == "auto":
        return [
            Flag("--trainer.callbacks+", AUTO_RATE),
            Flag("--trainer.callbacks.batch_size", str(_samples_of_step(config))),
        ]
    try:
        is_positive = float(value) > 0
    except ValueError:
        is_positive = False
    if not is_positive:
        raise ValueError(f"--lr is {value!r}; expected a number above 0, such as 0.001, or auto.")
    return [Flag("--model.optimizer.lr", value)]


def _samples_of_step(config: Mapping[str, Any]) -> int:
    """Return the number of samples that an optimizer step of a configuration has on one device."""
    size = ((config.get("data") or {}).get("init_args") or {}).get("batch_size")
    if not isinstance(size, int):
        raise ValueError(
            f"--lr is auto, but data.batch_size of the configuration is {size}, so the batch of its rate is unknown; "
            "give a number."
        )
    return size * ((config.get("trainer") or {}).get("accumulate_grad_batches") or 1)


def _size(value: str, config: Mapping[str, Any]) -> list[Flag]:
    """Return the flags of one side, or of several: 512, 512x640 or 96x128x128."""
    sides = value.lower().split("x")
    if not all(side.isdecimal() and int(side) for side in sides):
        raise ValueError(f"--size is {value!r}; expected a side in pixels, such as 512, or all, such as 512x640.")
    task = task_of(config)
    if task not in SIZES:
        raise ValueError(f"--size is for the data of {', '.join(SIZES)}; give the long flag of your own data module.")
    names = SIZES[task]
    if task == "detection":
        short, longest = int(sides[0]), int(sides[-1]) if len(sides) > 1 else round(int(sides[0]) * _LONGEST)
        return [Flag(f"--{names[0]}", f"[{short}]"), Flag(f"--{names[1]}", str(max(short, longest)))]
    # volumes have as many sides as in the configuration
    arguments = config["data"].get("init_args") or {}
    axes = len((arguments.get("resample") or {}).get("size", ())) or 2
    sides = sides * axes if len(sides) == 1 else sides
    if len(sides) != axes:
        raise ValueError(f"--size is {value!r}; expected 1 side or {axes}.")
    return [Flag(f"--{names[0]}", f"[{', '.join(sides)}]")]


def _device(value: str, config: Mapping[str, Any]) -> list[Flag]:
    """Return the flags of a kind of device, or of GPUs by their numbers: 0, 0,1 or cuda:1."""
    numbers = value.removeprefix("cuda:").removeprefix("gpu:").split(",")
    if all(number.isdecimal() for number in numbers):
        return [Flag("--trainer.accelerator", "gpu"), Flag("--trainer.devices", f"[{', '.join(numbers)}]")]
    if value not in ("auto", "cpu", "cuda", "gpu", "mps", "tpu"):
        raise ValueError(f"--device is {value!r}; expected cpu, gpu, mps, auto, or numbers of GPUs such as 0 or 0,1.")
    return [Flag("--trainer.accelerator", value)]


def _weights(value: str, config: Mapping[str, Any]) -> list[Flag]:
    if value.lower() == "none":
        return [Flag("--model.network.weights", "null")]
    inside = (Path(value, name) for name in _WEIGHTS_IN_FOLDERS)
    return [Flag("--model.network.weights", next((str(file) for file in inside if file.is_file()), value))]


def _name(value: str, config: Mapping[str, Any]) -> list[Flag]:
    if not value.strip():
        raise ValueError(f"--name is {value!r}; expected a name, for the folder runs/NAME, or a path with a slash.")
    # a path is meant as it is
    return [Flag("--trainer.default_root_dir", value if "/" in value else f"runs/{value}")]


SHORT_FLAGS = (
    ShortFlag("--backbone", "NAME", "network; vertebra backbones lists them", _text("model.network.backbone")),
    ShortFlag("--weights", "FILE", "initial weights: a file, a run folder, pretrained, or none", _weights),
    ShortFlag("--teacher", "RUN", "run to learn from by distillation", _text("model.teacher")),
    ShortFlag("--epochs", "N", "passes over the training split", _whole("--epochs", "trainer.max_epochs", 1)),
    ShortFlag("--batch", "N", "samples in a batch of one device; auto: as many as fit", _batch),
    ShortFlag("--size", "PIXELS", "side of the network's input, or HxW, or DxHxW of volumes", _size),
    ShortFlag("--lr", "RATE", "learning rate; auto: the recipe's, in proportion to the batch", _rate),
    ShortFlag("--device", "NAME", "cpu, gpu, mps, or numbers of GPUs such as 0,1", _device),
    ShortFlag("--workers", "N", "processes that load data; auto: by the number of cores", _workers),
    ShortFlag("--name", "NAME", "run folder: runs/NAME", _name),
    ShortFlag("--log", "NAME", "pictures and tables to tensorboard, wandb or mlflow, or several: a,b", _text("log")),
    ShortFlag("--seed", "N", "seed of all random numbers", _whole("--seed", "seed_everything", 0)),
)

"""Names of experiment trackers in the flags of a run, and whether their packages are installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable

from vertebra.tools.arguments.command_line import Flag

TRACKERS = ("tensorboard", "wandb", "mlflow")
_LOGGERS = ("--trainer.logger", "--trainer.logger.class_path")
# Lightning's loggers that need a package of their own
_PACKAGES = {"WandbLogger": "wandb", "MLFlowLogger": "mlflow", "CometLogger": "comet_ml", "NeptuneLogger": "neptune"}


def tracker_names(text: str | None) -> list[str]:
    """Return the trackers that `--log` names, such as `tensorboard,wandb`.

    Raises:
        ValueError: one is unknown or not installed.
    """
    names = [name.strip() for name in (text or "").split(",") if name.strip()]
    for name in names:
        if name not in TRACKERS:
            raise ValueError(f"--log is {text!r}; expected one or more of {', '.join(TRACKERS)}, with commas between.")
        if not _is_installed(name):
            raise ValueError(
                f"--log {name} needs the package {name}, which is not installed; install it with `pip install {name}`, "
                "or use --log tensorboard."
            )
    return names


def check_trackers(flags: Iterable[Flag]) -> None:
    """Refuse trackers that cannot be used.

    Raises:
        ValueError: one is unknown or not installed, or the name of one is given to Lightning's argument of loggers,
            which takes classes.
    """
    for flag in flags:
        value = flag.value or ""
        if flag.name == "--log" and value != "null":
            tracker_names(value)
        if flag.name not in _LOGGERS:
            continue
        if value.lower() in TRACKERS:
            raise ValueError(
                f"{flag.name} is {value}, and takes the name of a class; give --log {value.lower()} instead."
            )
        package = _PACKAGES.get(value.rpartition(".")[2])
        if package is not None and not _is_installed(package):
            raise ValueError(
                f"{flag.name} {value} needs the package {package}, which is not installed; install it with "
                f"`pip install {package}`, or use --log tensorboard."
            )


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None

"""Linked arguments: values of a model that are read from the data set, and values of both that have to agree."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pydoc import locate
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser

from vertebra.tasks.loading.data import TaskData

# attribute of the data module -> argument of the model
LINKS = (
    ("data.class_names", "model.init_args.class_names"),
    ("data.num_classes", "model.init_args.network.init_args.num_classes"),
)


def link_classes(parser: LightningArgumentParser, read_first: Callable[[TaskData], None] = lambda data: None) -> None:
    """Link the arguments of a model that depend on the classes to its data module.

    Args:
        parser: of a run.
        read_first: called with the data module before the model is built, to find what is wrong with the data.
    """
    for source, target in LINKS:
        # on instantiation, since classes are read from the files of the data set
        value = partial(_read, read_first=read_first, name=source.partition(".")[2])
        parser.link_arguments("data", target, compute_fn=value, apply_on="instantiate")


def _read(data: TaskData, read_first: Callable[[TaskData], None], name: str) -> Any:
    read_first(data)
    return getattr(data, name)


def refuse_contradictions(config: Namespace) -> None:
    """Refuse a kind of labels that is not that of the model's target, and options of a teacher that is not given.

    Raises:
        ValueError: there are such.
    """
    if config.get("model.init_args.distillation") is not None and not config.get("model.init_args.teacher"):
        raise ValueError(
            "model.distillation is given without a teacher, and would have no effect; give one with --model.teacher "
            "RUN, or leave it out."
        )
    kind, target = config.get("data.init_args.kind"), config.get("model.init_args.target")
    if kind is None:  # of tasks whose labels are of one kind
        return
    targeted = getattr(locate(target.class_path), "kind", kind) if target else "classes"
    if targeted != kind:
        raise ValueError(
            f"data.kind is {kind}, but model.target is for {targeted}; give --data.kind {targeted}, or another "
            "--model.target."
        )


def refuse_linked(config: Namespace) -> None:
    """Refuse values for linked arguments, which jsonargparse would silently replace.

    Raises:
        ValueError: a flag or a configuration file sets a linked argument.
    """
    for source, target in LINKS:
        if (value := config.get(target)) is not None:
            name = target.replace(".init_args", "")
            raise ValueError(
                f"{name} is {value!r}, but it is read from the data set ({source}) and cannot be set; leave --{name} "
                f"out of the flags, and {name.rpartition('.')[2]} out of the configuration file."
            )

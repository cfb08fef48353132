"""Linked arguments: values of a model that are read from the data set and cannot be set by a user."""

from __future__ import annotations

from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser

# attribute of the data module -> argument of the model
LINKS = (
    ("data.class_names", "model.init_args.class_names"),
    ("data.num_classes", "model.init_args.network.init_args.num_classes"),
)


def link_classes(parser: LightningArgumentParser) -> None:
    """Link the arguments of a model that depend on the classes to its data module."""
    for source, target in LINKS:
        # on instantiation, since classes are read from the files of the data set
        parser.link_arguments(source, target, apply_on="instantiate")


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

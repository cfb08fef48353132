"""Construction of a task's module and data module from the configuration in a checkpoint."""

from __future__ import annotations

import warnings
from argparse import ArgumentError
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from lightning.pytorch.cli import LightningArgumentParser

from vertebra.tasks.loading.data import TaskData
from vertebra.tasks.training.module import TaskModule
from vertebra.tools.arguments.linked_arguments import link_classes
from vertebra.tools.trained.checkpoint_config import inference_config
from vertebra.tools.trained.checkpoint_file import read_checkpoint
from vertebra.tools.trained.exported_file import run_exported
from vertebra.tools.trained.location import is_exported


class Assembled(NamedTuple):
    """A trained model.

    Attributes:
        module: with the weights of the checkpoint, in evaluation mode.
        data: of the same configuration, without any data set.
        content: of the checkpoint.
    """

    module: TaskModule
    data: TaskData
    content: dict[str, Any]


def set_annotations(config: dict[str, Any], file: Path) -> None:
    """Make the predictions of a configuration carry the ids of a COCO file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the configuration is not one of detection.
    """
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist; give the COCO annotation file of the images.")
    if not config["data"]["class_path"].endswith("DetectionData"):
        raise ValueError(
            f"annotations are {file}, but the model is not a detector; only detections carry the ids of an annotation "
            "file. Leave it out."
        )
    config["data"]["init_args"]["predict_annotations"] = str(file)


def portable_config(checkpoint: Path, content: dict[str, Any], trust: bool = False) -> dict[str, Any]:
    """Return `inference_config` without the classes, which are a separate entry of a file, and without inputs."""
    config = inference_config(checkpoint, content, trust=trust)
    del config["data"]["init_args"]["class_names"], config["data"]["init_args"]["predict"]
    return config


def training_data(config_file: Path) -> TaskData:
    """Build the data module of a run with its data set.

    Args:
        config_file: `config.yaml` of a run; as for `vertebra validate`, its classes are not checked.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not the configuration of a run.
    """
    if not config_file.is_file():
        raise FileNotFoundError(f"{config_file} does not exist; give the run folder, or samples with --images PATH.")
    data = yaml.safe_load(config_file.read_text(encoding="utf-8")).get("data")
    if not isinstance(data, dict):
        raise ValueError(f"{config_file}: has no data; the configuration of a run is expected.")
    parser = LightningArgumentParser(exit_on_error=False)
    parser.add_lightning_class_args(TaskData, "data", subclass_mode=True)
    with _quiet_parsing():
        return _instantiated(config_file, parser, {"data": data}).data


def assemble(checkpoint: Path, trust: bool = False) -> Assembled:
    """Build the module and the data module of a checkpoint, and load the weights.

    Args:
        checkpoint: its path.
        trust: whether its configuration may name classes outside this package.

    Raises:
        FileNotFoundError: the checkpoint does not exist.
        ValueError: `vertebra fit` has not written it, it is damaged, or names untrusted classes.
    """
    content = read_checkpoint(checkpoint)
    config = inference_config(checkpoint, content, trust=trust)
    with _quiet_parsing():
        built = _instantiate(checkpoint, config)
    module = built.model
    if is_exported(checkpoint):
        content |= {"state_dict": run_exported(module, checkpoint, content)}
    try:
        module.on_load_checkpoint(content)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{checkpoint}: {error}") from error
    module.load_state_dict(content["state_dict"])
    return Assembled(module.eval(), built.data, content)


def assemble_untrained(checkpoint: Path, trust: bool = False) -> TaskModule:
    """Build the module of a checkpoint with random weights, by the current seed; arguments and errors as above."""
    config = inference_config(checkpoint, read_checkpoint(checkpoint), trust=trust)
    with _quiet_parsing():
        module: TaskModule = _instantiate(checkpoint, config).model
    return module.eval()


def _instantiate(checkpoint: Path, config: dict[str, Any]) -> Any:
    """Return the objects that a configuration describes, as attributes `data` and `model`."""
    parser = LightningArgumentParser(exit_on_error=False)
    parser.add_lightning_class_args(TaskData, "data", subclass_mode=True)
    parser.add_lightning_class_args(TaskModule, "model", subclass_mode=True)
    link_classes(parser)
    return _instantiated(checkpoint, parser, config)


def _instantiated(file: Path, parser: LightningArgumentParser, config: dict[str, Any]) -> Any:
    # the name since jsonargparse 4.49, and the one before
    instantiate = getattr(parser, "instantiate", None) or parser.instantiate_classes
    try:
        return instantiate(parser.parse_object(config))
    except ArgumentError as error:
        raise ValueError(
            f"{file}: its configuration does not fit this version of vertebra ({str(error).splitlines()[0]}). "
            "Use the version that wrote it, or train again."
        ) from error


@contextmanager
def _quiet_parsing() -> Iterator[None]:
    with warnings.catch_warnings():
        # transforms are annotated with tuples but accept lists, which is how YAML writes a tuple
        warnings.filterwarnings("ignore", message="(?s).*a tuple is serialized as list")
        warnings.filterwarnings("ignore", message="(?s).*deprecated in v4")  # in Lightning's calls of jsonargparse
        yield

"""Exported files as trained models: configuration from the metadata, the network run by onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from vertebra.tasks.segmentation.views import WholeImage
from vertebra.tasks.training.module import TaskModule
from vertebra.tools.exporting.comparison import Pixels, switch_off_extras
from vertebra.tools.exporting.onnx_file import OnnxDetector, OnnxNetwork, read_metadata


def read_exported(path: Path) -> dict[str, Any]:
    """Return the metadata of an exported file in the form of a checkpoint without weights.

    Raises:
        FileNotFoundError: it does not exist.
        ValueError: `vertebra export` has not written it.
    """
    entries = read_metadata(path)
    # the configuration as text, which is how a checkpoint has it, and how it is checked
    return {**entries, "state_dict": {}, "config": yaml.safe_dump(entries.get("config"), allow_unicode=True)}


def run_exported(module: TaskModule, path: Path, content: dict[str, Any]) -> dict[str, Any]:
    """Replace the network of a module by that of an exported file, and its normalization if the file has one.

    Args:
        module: of the configuration in the file.
        path: of the file.
        content: of `read_exported`.

    Returns:
        The state dict of the module.

    Raises:
        ValueError: the metadata have no preprocessing, or views need normalized images.
    """
    preprocessing = content.get("preprocessing")
    if not isinstance(preprocessing, dict):
        raise ValueError(f"{path}: has no preprocessing in its metadata; export the run again.")
    task = content.get("task")
    module.network = OnnxDetector(path) if task == "detection" else OnnxNetwork(path)
    switch_off_extras(module)
    if preprocessing.get("normalized_inside"):
        views = getattr(module, "views", None)
        if task in ("detection", "segmentation") and not isinstance(views, WholeImage | None):
            raise ValueError(
                f"{path}: the run predicts with {type(views).__name__}, which pads or resizes normalized images, but "
                "the file normalizes inside; export the run with --normalized."
            )
        module.normalize = Pixels()
    return module.state_dict()

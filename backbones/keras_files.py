"""Weights in files of Keras: legacy `.h5`, `.weights.h5` and `.keras`. Only arrays are read; nothing is executed."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

SUFFIXES = (".h5", ".hdf5", ".keras")


def read_layers(path: Path) -> dict[str, list[np.ndarray]]:
    """Return the arrays of each layer by the layer's name, in the order of Keras, such as kernel and bias.

    Raises:
        ValueError: h5py is not installed, or the file cannot be read or does not name its layers.
    """
    try:
        import h5py
    except ImportError as error:
        raise ValueError(
            f"{path}: reading files of Keras needs h5py, which is not installed. pip install h5py."
        ) from error
    try:
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                content: Any = io.BytesIO(archive.read("model.weights.h5"))
        else:
            content = path
        with h5py.File(content, "r") as file:
            layers = _layers(file)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: cannot be read as weights of Keras ({error}). Copy or save it again.") from error
    if not layers:
        raise ValueError(
            f"{path}: has no named layers with weights; expected a file of model.save_weights or model.save. Save it "
            "again with a current Keras."
        )
    return layers


def _layers(file: Mapping[str, Any]) -> dict[str, list[np.ndarray]]:
    if "layers" in file:  # Keras 3: groups are numbered by the class of the layer, and carry its name
        found = {}
        for group in file["layers"].values():
            variables = group.get("vars")
            if variables is not None and "name" in variables.attrs and len(variables):
                found[str(variables.attrs["name"])] = [variables[key][()] for key in sorted(variables, key=int)]
        return found
    root = file.get("model_weights", file)
    return {
        name: [group[_text(key)][()] for key in group.attrs["weight_names"]]
        for name, group in root.items()
        if "weight_names" in group.attrs and len(group.attrs["weight_names"])
    }


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)

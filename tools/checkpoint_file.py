"""Checkpoints of `vertebra fit`: known for what they are before anything is made of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from reprlib import repr as brief  # lists in lists may be endless
from typing import Any

from vertebra.backbones.weight_files import checked_state_dict, read_saved

# what every checkpoint has, and what going on with its training needs besides
EVERY = {"state_dict": dict, "class_names": list, "pytorch-lightning_version": str, "epoch": int, "global_step": int}
TRAINING = {"optimizer_states": list, "lr_schedulers": list, "loops": dict, "callbacks": dict}

_VERSION = re.compile(r"\d+(\.\d+)+\S*")
_PATHS = ("best_model_path", "kth_best_model_path", "last_model_path")


def read_checkpoint(path: Path, training: bool = False) -> dict[str, Any]:
    """Return the content of a checkpoint; nothing in the file is executed, tensors are read where they are used.

    Args:
        path: of the file.
        training: whether its training is to go on, which needs the optimizer's state as well.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it was not written by `vertebra fit`, or not whole.
    """
    content = read_saved(path)
    needed = {**EVERY, **(TRAINING if training else {})}
    if not isinstance(content, dict):
        raise ValueError(f"{path}: is no checkpoint of `vertebra fit`: it holds a {type(content).__name__}.")
    absent = [key for key, kind in needed.items() if not isinstance(content.get(key), kind)]
    if absent and set(absent) <= set(TRAINING):
        raise ValueError(
            f"{path}: holds a network without the state of its training ({', '.join(absent)}); go on from a "
            "last.ckpt, or start a new training from its weights with --model.network.weights."
        )
    if absent:
        raise ValueError(
            f"{path}: is no checkpoint of `vertebra fit`: it has no {', '.join(absent)}. Weights alone start a "
            "training, with --model.network.weights."
        )
    names = content["class_names"]
    if not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{path}: is no checkpoint of `vertebra fit`: its class_names are {brief(names)}.")
    if not _VERSION.fullmatch(content["pytorch-lightning_version"]):
        raise ValueError(
            f"{path}: is no checkpoint of `vertebra fit`: its pytorch-lightning_version is "
            f"{brief(content['pytorch-lightning_version'])}."
        )
    checked_state_dict(content["state_dict"], str(path))
    if training:
        _check_paths(path, content["callbacks"])
    return content


def _check_paths(path: Path, callbacks: Mapping[Any, Any]) -> None:
    """Refuse files outside the checkpoints' folder: the callback that keeps the best deletes those that it replaces."""
    for state in callbacks.values():
        if not isinstance(state, Mapping):
            raise ValueError(f"{path}: is no checkpoint of `vertebra fit`: a callback's state is {brief(state)}.")
        if not any(key in state for key in (*_PATHS, "best_k_models")):
            continue
        folder, kept = state.get("dirpath"), state.get("best_k_models")
        files = [*(state.get(key) for key in _PATHS), *(kept if isinstance(kept, Mapping) else ())]
        if not isinstance(folder, str) or not all(_is_inside(file, folder) for file in files if file):
            named = _first_outside(files, folder)
            raise ValueError(
                f"{path}: names {brief(named)} as a checkpoint in {brief(folder)}; files elsewhere are not touched. "
                "Start a new training from its weights with --model.network.weights."
            )


def _first_outside(files: Iterable[Any], folder: Any) -> Any:
    return next((file for file in files if file and not (isinstance(folder, str) and _is_inside(file, folder))), None)


def _is_inside(file: Any, folder: str) -> bool:
    if not isinstance(file, str) or ":" in file.replace(":\\", "", 1):  # a URL, or a chain of file systems
        return False
    return Path(folder) in Path(file).parents and ".." not in Path(file).parts

"""Safe loading and validation of checkpoints of `vertebra fit`, and of folders of `vertebra share`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from reprlib import repr as short_repr  # bounded: nested lists of a crafted file expand without end
from typing import Any

from vertebra.backbones.weight_files import checked_state_dict, read_saved
from vertebra.tools.trained.exported_file import read_exported
from vertebra.tools.trained.location import is_exported
from vertebra.tools.trained.shared_entries import is_shared
from vertebra.tools.trained.shared_folder import read_shared

# entries and types of every checkpoint, and those that resuming a training needs in addition
REQUIRED = {"state_dict": dict, "class_names": list, "pytorch-lightning_version": str, "epoch": int, "global_step": int}
REQUIRED_TO_RESUME = {"optimizer_states": list, "lr_schedulers": list, "loops": dict, "callbacks": dict}

_VERSION = re.compile(r"\d+(\.\d+)+\S*")
_PATHS = ("best_model_path", "kth_best_model_path", "last_model_path")


def read_checkpoint(path: Path, training: bool = False) -> dict[str, Any]:
    """Return the content of a checkpoint; no code in the file is executed, and tensors are memory-mapped.

    Args:
        path: of the checkpoint, of a shared folder, or of an exported file, which has no weights.
        training: whether to resume its training, which needs the optimizer state too.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it was not written by `vertebra fit`, or is damaged.
    """
    # weights_only: tensors and plain containers, and checksums are compared
    content = read_exported(path) if is_exported(path) else read_shared(path) if is_shared(path) else read_saved(path)
    required = {**REQUIRED, **(REQUIRED_TO_RESUME if training else {})}
    if not isinstance(content, dict):
        raise ValueError(f"{path}: is not a checkpoint of `vertebra fit`: it holds a {type(content).__name__}.")
    missing = [key for key, kind in required.items() if not isinstance(content.get(key), kind)]
    if missing and set(missing) <= set(REQUIRED_TO_RESUME):
        raise ValueError(
            f"{path}: holds a network without its training state ({', '.join(missing)}); resume from a last.ckpt, or "
            "start a new training from its weights with --model.network.weights."
        )
    if missing:
        raise ValueError(
            f"{path}: is not a checkpoint of `vertebra fit`: it has no {', '.join(missing)}. To start a training from "
            "bare weights, use --model.network.weights."
        )
    names = content["class_names"]
    if not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{path}: is not a checkpoint of `vertebra fit`: its class_names are {short_repr(names)}.")
    # Lightning migrates old checkpoints by this version, and fails on an invalid one with an error of its own
    if not _VERSION.fullmatch(content["pytorch-lightning_version"]):
        raise ValueError(
            f"{path}: is not a checkpoint of `vertebra fit`: its pytorch-lightning_version is "
            f"{short_repr(content['pytorch-lightning_version'])}."
        )
    # sparse, meta and expanded tensors would crash or exhaust memory once they are used
    checked_state_dict(content["state_dict"], str(path))
    if training:
        _check_paths(path, content["callbacks"])
    return content


def _check_paths(path: Path, callbacks: Mapping[Any, Any]) -> None:
    """Refuse callback states that name files outside their checkpoint folder.

    `ModelCheckpoint` deletes the files in its state once better ones replace them, so a crafted state would make it
    delete any file of the user.
    """
    for state in callbacks.values():
        if not isinstance(state, Mapping):
            raise ValueError(
                f"{path}: is not a checkpoint of `vertebra fit`: a callback's state is {short_repr(state)}."
            )
        if not any(key in state for key in (*_PATHS, "best_k_models")):
            continue
        folder, best = state.get("dirpath"), state.get("best_k_models")
        files = [*(state.get(key) for key in _PATHS), *(best if isinstance(best, Mapping) else ())]
        if not isinstance(folder, str) or not all(_is_inside(file, folder) for file in files if file):
            outside = _first_outside(files, folder)
            raise ValueError(
                f"{path}: names {short_repr(outside)} as a checkpoint in {short_repr(folder)}, but files elsewhere are "
                "never deleted. Start a new training from its weights with --model.network.weights."
            )


def _first_outside(files: Iterable[Any], folder: Any) -> Any:
    return next((file for file in files if file and not (isinstance(folder, str) and _is_inside(file, folder))), None)


def _is_inside(file: Any, folder: str) -> bool:
    # a colon is a URL or fsspec's chain of file systems, which Lightning would follow; only C:\ is a path
    if not isinstance(file, str) or ":" in file.replace(":\\", "", 1):
        return False
    return Path(folder) in Path(file).parents and ".." not in Path(file).parts
